package telemetry

import "sync/atomic"

// flowLabels name the connections from one source to one service.
type flowLabels struct{ service, source string }

// Flow counts the connections from one workload to one service. It is looked up
// once per connection; its byte counters move while bytes move, so that a long
// connection is visible before it ends. AddIn and AddOut are for the loop that
// owns the connection.
type Flow struct {
	live              atomic.Int64 // requests
	bytesIn, bytesOut atomic.Uint64
	http, tcp         connCounters
	undecided         atomic.Int64 // connections
	failures, detours [reasonCount]atomic.Uint64
}

// connCounters is what is counted of connections of one protocol.
type connCounters struct {
	open  atomic.Int64
	total atomic.Uint64
}

// AddIn counts n bytes that came from the client.
func (f *Flow) AddIn(n int) { f.bytesIn.Add(uint64(n)) }

// AddOut counts n bytes that went to the client.
func (f *Flow) AddOut(n int) { f.bytesOut.Add(uint64(n)) }

func (f *Flow) protocol(http bool) *connCounters {
	if http {
		return &f.http
	}
	return &f.tcp
}

func (f *Flow) opened(http bool) {
	p := f.protocol(http)
	p.open.Add(1)
	p.total.Add(1)
}

func (f *Flow) closed(c *ConnReport) {
	if c.undecided {
		f.undecided.Add(-1)
	} else {
		f.protocol(c.HTTP).open.Add(-1)
	}
	if c.Reason != None {
		f.failures[c.Reason].Add(1)
	}
	if c.Detour != None {
		f.detours[c.Detour].Add(1)
	}
}

// busy says that the flow still has connections, which a retained series must
// keep: dropping it would lose their end.
func (f *Flow) busy() bool {
	return f.http.open.Load() != 0 || f.tcp.open.Load() != 0 || f.undecided.Load() != 0
}
