// Package retry owns the question whether a failed attempt is tried again, how
// long to wait before, and how many retries a backend is asked to bear at once.
//
// It must not know connections, requests or clocks: what happened is handed in
// as plain values. All of it is pure but Budget, which several loops share.
package retry

import (
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
)

// Policy says what is tried again. table.Retry has the same shape, so
// (*retry.Policy)(forward.Retry) costs nothing.
type Policy struct {
	// Attempts is how many retries there may be, beyond the first try.
	Attempts uint32
	// Codes are response statuses that are tried again, sorted.
	Codes []uint16
	// OnConnectFailure tries again when no connection could be made, OnReset
	// when it was lost, or timed out, before the response's first byte.
	OnConnectFailure, OnReset bool
	// Backoff is the least wait and the base of the exponential one, MaxBackoff the
	// bound of both; see Delay.
	Backoff, MaxBackoff time.Duration
}

// Fault is how an attempt ended.
type Fault uint8

const (
	// Connect: no connection could be made; no byte was sent.
	Connect Fault = iota
	// Reset: the connection was lost before the response's first byte. (A reused
	// one that the endpoint had closed before it could see the request is not a
	// fault: the same attempt goes on with a fresh one, RFC 9112 9.3.1.)
	Reset
	// Timeout: the attempt's time passed before the response's head.
	Timeout
	// Status: the response has a status; see Attempt.Status.
	Status
)

// Attempt is what the decision depends on.
type Attempt struct {
	Fault Fault
	// Status is the response's status, for Fault Status.
	Status uint16
	// Retries is how many retries were made before this attempt: 0 for the first.
	Retries uint32
	// Sent: a byte of the request may have left.
	Sent bool
	// Idempotent is Idempotent of the request's method.
	Idempotent bool
	// Replayable: every byte of the body that was read from the client so far is
	// at hand (true for a request without one).
	Replayable bool
	// Answered: a byte of the response may have gone to the client.
	Answered bool
}

// Budgeted reports whether a retry after this attempt needs a place in the
// backend's Budget. Where nothing was sent the backend has borne nothing, so
// trying elsewhere adds no load: were it counted, an endpoint that dies under
// many requests at once would spend the budget, and requests would fail that
// have a usable endpoint.
func (a Attempt) Budgeted() bool { return a.Sent }

// Verdict is what to do about a failed attempt.
type Verdict uint8

const (
	// GiveUp: the policy does not ask for a retry.
	GiveUp Verdict = iota
	// Again: after a backoff and, if the attempt is Budgeted, within the budget.
	Again
	// Exhausted: the policy would, but its number of retries is made.
	Exhausted
	// NotIdempotent: the endpoint may have acted on the request already, and
	// to do so twice is not allowed (RFC 9110 9.2.2).
	NotIdempotent
	// NotReplayable: part of the body is gone.
	NotReplayable
	// TooLate: part of the response is with the client.
	TooLate
)

// String names the verdict for logs.
func (v Verdict) String() string {
	switch v {
	case Again:
		return "again"
	case Exhausted:
		return "exhausted"
	case NotIdempotent:
		return "not_idempotent"
	case NotReplayable:
		return "not_replayable"
	case TooLate:
		return "too_late"
	}
	return "give_up"
}

// Idempotent reports the methods of RFC 9110 9.2.2. A method that is not known
// is not idempotent.
func Idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// Decide says what to do about a failed attempt.
//
// A status that the policy lists is tried again whatever the method: the author
// of the policy knows the backend, and that is the means to know which RFC 9110
// 9.2.2 asks for. A lost connection or a timeout tells nothing about what the
// endpoint did, so there the method decides, unless nothing was sent.
func (p *Policy) Decide(a Attempt) Verdict {
	if !p.wants(a) {
		return GiveUp
	}
	switch {
	case a.Answered:
		return TooLate
	case a.Fault != Status && a.Sent && !a.Idempotent:
		return NotIdempotent
	case !a.Replayable:
		return NotReplayable
	case a.Retries >= p.Attempts:
		return Exhausted
	}
	return Again
}

// wants reports whether the policy asks for a retry at all.
func (p *Policy) wants(a Attempt) bool {
	switch a.Fault {
	case Connect:
		return p.OnConnectFailure
	case Reset:
		return p.OnReset
	case Timeout:
		// To the client it would be a 504.
		return p.OnReset || p.lists(504)
	case Status:
		return p.lists(a.Status)
	}
	return false
}

func (p *Policy) lists(status uint16) bool {
	_, found := slices.BinarySearch(p.Codes, status)
	return found
}

// Delay returns how long to wait before retry number n (0 is the first): Backoff,
// and on top of it full jitter, uniform from 0 to Backoff doubled n times; together
// at most MaxBackoff. random is uniform over 64 bits.
//
// Never less than Backoff, unlike plain full jitter: Gateway API lets nothing be
// tried again before it (HTTPRouteRetry.backoff, "the minimum duration").
func (p *Policy) Delay(n uint32, random uint64) time.Duration {
	most := max(0, p.MaxBackoff-p.Backoff)
	jitter := most
	if n < 62 && p.Backoff <= most>>n {
		jitter = p.Backoff << n
	}
	wait, _ := bits.Mul64(random, uint64(jitter)+1)
	return p.Backoff + time.Duration(wait)
}

// BudgetConfig bounds retries as xDS's retry_budget does. table.Budget has the
// same shape.
type BudgetConfig struct {
	// Percent of the live requests that may be retries; 0 to 100.
	Percent float64
	// MinConcurrency retries are always allowed.
	MinConcurrency uint32
}

// Limit returns how many retries may be under way with this many live requests.
func (c BudgetConfig) Limit(live int64) int64 {
	return max(int64(c.MinConcurrency), int64(c.Percent*float64(live)/100))
}

// Budget counts a backend's retries that are under way, their backoff
// included. It is ready for use when zero. Any goroutine may call it.
type Budget struct{ underWay atomic.Int64 }

// Take takes a place for one retry while live requests, retries among them,
// are under way. False: the budget is spent. Whoever has taken must Give.
func (b *Budget) Take(c BudgetConfig, live int64) bool {
	limit := c.Limit(live)
	for {
		n := b.underWay.Load()
		if n >= limit {
			return false
		}
		if b.underWay.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Give gives a place back.
func (b *Budget) Give() { b.underWay.Add(-1) }

// UnderWay returns how many retries are under way.
func (b *Budget) UnderWay() int64 { return b.underWay.Load() }
