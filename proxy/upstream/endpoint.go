package upstream

import (
	"cmp"
	"net/netip"
	"sync/atomic"

	"github.com/culvert-mesh/culvert/proxy/breaker"
)

// Endpoint is one address of one backend, alive for as long as it stays in the
// snapshots.
type Endpoint struct {
	// set at construction
	addr    netip.AddrPort
	backend *Backend

	// read by every request, written at changes
	breaker breaker.Breaker
	removed atomic.Bool
	// last: it has failed enough to be ejected, but nothing else is usable.
	last      atomic.Bool
	ejections atomic.Uint32

	// guarded by backend.mu
	candidate bool

	// Written by every request of every loop; the padding keeps the fields
	// above on a cache line that stays shared.
	_           [7]byte
	inFlight    atomic.Int64
	connections atomic.Int32
	failures    atomic.Uint32
	connects    atomic.Uint64
	_           [40]byte
}

// Addr is where it listens.
func (e *Endpoint) Addr() netip.AddrPort { return e.addr }

// Backend is the backend that it belongs to.
func (e *Endpoint) Backend() *Backend { return e.backend }

// InFlight is the number of leases that are not done, over all loops.
func (e *Endpoint) InFlight() int64 { return e.inFlight.Load() }

// Connections is the number of open connections, busy and idle.
func (e *Endpoint) Connections() int { return int(e.connections.Load()) }

// Outcome is what became of a lease.
type Outcome uint8

const (
	// Cancelled: the client went away, or the fault was on our side; it teaches
	// nothing about the endpoint. It is the zero value, so that a lease whose
	// user panicked blames nobody.
	Cancelled Outcome = iota
	// OK: the endpoint answered, with no 5xx status.
	OK
	// Failure5xx: it answered with a 5xx status.
	Failure5xx
	// ConnectFailed: no connection could be made.
	ConnectFailed
	// Reset: the connection was lost before the response was complete.
	Reset
	// Timeout: no response in the attempt's time.
	Timeout
)

// Health is an endpoint's state, as seen from outside.
type Health uint8

const (
	// Healthy: used.
	Healthy Health = iota
	// Ejected: not used until its time has passed.
	Ejected
	// Probing: one request finds out whether it has recovered.
	Probing
	// Last: it would be ejected, but nothing else is usable, so it is used.
	Last
)

// String returns the metric label: closed, open, half_open or last.
func (h Health) String() string {
	switch h {
	case Ejected:
		return "open"
	case Probing:
		return "half_open"
	case Last:
		return "last"
	}
	return "closed"
}

// Change is one change of an endpoint's health.
type Change struct {
	Backend  string
	Endpoint netip.AddrPort
	From, To Health
	// Failures in a row so far; Ejections since the endpoint came.
	Failures, Ejections uint32
	// Usable is how many of the backend's endpoints are usable after it.
	Usable int
	// Until is when an ejected endpoint is probed, on the loops' clock (ns).
	Until int64
}

func (e *Endpoint) change(from, to Health) Change {
	return Change{
		Backend: e.backend.name, Endpoint: e.addr, From: from, To: to,
		Failures: e.breaker.Failures(), Ejections: e.ejections.Load(),
		Usable: int(e.backend.usable.Load()), Until: e.breaker.Until(),
	}
}

// Health returns the state now.
func (e *Endpoint) Health() Health {
	switch e.breaker.State() {
	case breaker.Open:
		return Ejected
	case breaker.HalfOpen:
		return Probing
	}
	if e.last.Load() {
		return Last
	}
	return Healthy
}

// dueFirst orders ejected endpoints by when they are due.
func dueFirst(a, b *Endpoint) int { return cmp.Compare(a.breaker.Until(), b.breaker.Until()) }

// learn takes in what became of a lease at now.
func (e *Endpoint) learn(out Outcome, probe bool, now int64) {
	switch {
	case out == OK && !probe:
		e.breaker.Success(false)
		if e.last.Load() && e.last.CompareAndSwap(true, false) {
			e.backend.registry.tell(e.change(Last, Healthy))
		}
	case out == OK:
		e.recover()
	case out == Cancelled:
		if e.breaker.Abandon(probe) == breaker.Abandoned {
			e.backend.registry.tell(e.change(Probing, Ejected))
		}
	case e.removed.Load():
		// What is in flight to an endpoint that has left teaches nothing new.
	default:
		e.failures.Add(1)
		e.fail(now, probe)
	}
}

func (e *Endpoint) fail(now int64, probe bool) {
	b := e.backend
	config := (*breaker.Config)(&b.current.Load().table.Breaker)
	switch e.breaker.Failure(config, now, b.registry.config.Random(), probe) {
	case breaker.Reopened:
		e.ejections.Add(1)
		b.ejections.Add(1)
		b.registry.tell(e.change(Probing, Ejected))
	case breaker.Ripe:
		if !e.last.Load() || b.usable.Load() > 1 {
			e.eject(config, now)
		}
	}
}

// eject opens a ripe breaker, unless nothing else could be used then.
func (e *Endpoint) eject(config *breaker.Config, now int64) {
	b := e.backend
	from := e.Health()
	b.mu.Lock()
	if e.candidate && b.usable.Load() <= 1 {
		kept := e.last.CompareAndSwap(false, true)
		b.mu.Unlock()
		if kept {
			b.lasts.Add(1)
			b.registry.tell(e.change(Healthy, Last))
		}
		return
	}
	opened := e.breaker.Open(config, now, b.registry.config.Random())
	if opened {
		e.last.Store(false)
		if e.candidate {
			b.usable.Add(-1)
		}
	}
	b.mu.Unlock()
	if opened {
		e.ejections.Add(1)
		b.ejections.Add(1)
		b.registry.tell(e.change(from, Ejected))
	}
}

// recover closes the breaker after a good probe.
func (e *Endpoint) recover() {
	b := e.backend
	b.mu.Lock()
	recovered := e.breaker.Success(true) == breaker.Recovered
	if recovered && e.candidate {
		b.usable.Add(1)
	}
	b.mu.Unlock()
	if recovered {
		b.registry.tell(e.change(Probing, Healthy))
	}
}
