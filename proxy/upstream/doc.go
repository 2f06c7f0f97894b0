// Package upstream owns what lives about backends: their endpoints with
// counters and breakers, the pools of idle connections to them, and leases, the
// right to use one endpoint for one attempt.
//
// It must not know HTTP, services or routes. A Registry outlives snapshots:
// Apply moves it to a new one and an endpoint that stays keeps its state; one
// that leaves drains: what is in flight goes on, idle connections are closed on
// every loop, and the same address later is a new endpoint.
//
// Who may call what: Apply, Forget, Run, Dump and Summaries from any goroutine,
// never from a loop. Acquire, the methods of Lease and those of Pools on the
// loop that the Pools belong to. Endpoint's and Backend's readers anywhere.
//
//	l, reason := backend.Acquire(pools, &tried)
//	if reason != telemetry.None { ... }
//	defer func() { l.Done(outcome) }()
//	c, reused, err := l.Conn(workload, false)
//	...
//	l.Keep(c) // or l.Drop(c)
//
// Shared between loops are an endpoint's breaker (one word, read by each
// request, written at failures) and its counter of requests in flight. All else
// that a request writes belongs to its loop. A mutex per backend guards changes
// of state only: an ejection, a recovery, a new snapshot. It is held for a
// moment, across no I/O and no callback, so a loop may take it.
package upstream
