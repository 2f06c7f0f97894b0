// Package breaker owns the circuit breaker of one endpoint: it counts failures
// in a row, keeps an endpoint out of use for a growing time, and lets one probe
// find out whether it has recovered.
//
// It must not know endpoints, clocks or random sources: time and chance are
// handed in. Several loops share a Breaker, so its whole state is one atomic
// word and every transition one compare-and-swap; any goroutine may call it.
//
//	Closed --Consecutive failures--> ripe --Open--> Open --time--> due
//	due --Admit: one probe--> HalfOpen --success--> Closed (growth forgotten)
//	                                   --failure--> Open, twice as long
//	                                   --abandoned--> due again
//	                                   --ProbePatience--> one more probe
//
// Opening is left to the owner, who alone knows whether this is the last
// endpoint that could be used.
package breaker

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Config says when and for how long a breaker opens. table.Breaker has the
// same shape: (*breaker.Config)(&backend.Breaker).
type Config struct {
	// Disabled: outcomes teach nothing.
	Disabled bool
	// Consecutive failures make it ripe; 1 to 65535.
	Consecutive uint32
	// BaseEjection is how long it stays open the first time; each failed probe
	// doubles that, to at most MaxEjection. Each time is shortened by up to a
	// fifth at random, so that endpoints that failed together are not probed
	// together.
	BaseEjection, MaxEjection time.Duration
}

// ProbePatience is for how long one probe alone decides. A request may wait for its
// response for hours (long polling); then the next one may find out sooner.
const ProbePatience = 5 * time.Second

// State is what a breaker does with a request.
type State uint8

const (
	// Closed lets everything through.
	Closed State = iota
	// Open lets nothing through until its time has passed.
	Open
	// HalfOpen waits for the outcome of the probe.
	HalfOpen
)

// String returns the metric label: closed, open or half_open.
func (s State) String() string {
	switch s {
	case Open:
		return "open"
	case HalfOpen:
		return "half_open"
	}
	return "closed"
}

// Change is what an outcome did.
type Change uint8

const (
	// None: the state is as before.
	None Change = iota
	// Ripe: there were enough failures in a row; the owner may call Open. It is
	// told again at each further failure while the breaker stays closed.
	Ripe
	// Reopened: the probe failed.
	Reopened
	// Recovered: the probe succeeded and the breaker is closed.
	Recovered
	// Abandoned: the probe taught nothing; the next request is the probe.
	Abandoned
)

// Breaker is ready for use when zero: closed.
type Breaker struct{ word atomic.Uint64 }

// The word, from the top: state 2 bits, growth 6 (failed probes in a row, it
// saturates), failures in a row 16 (saturates), until 40 in milliseconds of
// the caller's clock, which is 34 years: of an open breaker the end of its time, of
// a half-open one that of its probe's.
const (
	untilBits   = 40
	failureBits = 16
	growthBits  = 6
	maxFailures = 1<<failureBits - 1
	maxGrowth   = 1<<growthBits - 1
	untilMask   = 1<<untilBits - 1
)

type parts struct {
	state    State
	growth   uint64
	failures uint64
	until    uint64 // ms
}

func unpack(w uint64) parts {
	return parts{
		state:    State(w >> (untilBits + failureBits + growthBits)),
		growth:   w >> (untilBits + failureBits) & maxGrowth,
		failures: w >> untilBits & maxFailures,
		until:    w & untilMask,
	}
}

func (p parts) pack() uint64 {
	return uint64(p.state)<<(untilBits+failureBits+growthBits) |
		p.growth<<(untilBits+failureBits) | p.failures<<untilBits | p.until
}

// State returns the state. An open breaker whose time has passed is still Open
// until a request comes to be the probe.
func (b *Breaker) State() State { return unpack(b.word.Load()).state }

// Failures returns how many failures in a row there were; it stops at 65535.
func (b *Breaker) Failures() uint32 { return uint32(unpack(b.word.Load()).failures) }

// Until returns when an open breaker is due for its probe, in ns of the clock
// that opened it, rounded up to a millisecond; 0 when it is not open.
func (b *Breaker) Until() int64 {
	if p := unpack(b.word.Load()); p.state == Open {
		return int64(p.until) * int64(time.Millisecond)
	}
	return 0
}

// Refuses reports whether Admit would refuse now. It is for choosing among
// endpoints: a loop asks this about many and calls Admit on one.
func (b *Breaker) Refuses(now int64) bool {
	w := b.word.Load()
	if w>>(untilBits+failureBits+growthBits) == uint64(Closed) {
		return false
	}
	return millis(now) < unpack(w).until
}

// Admit asks to send one request at now. A request that is admitted as the
// probe must report Success, Failure or Abandon with probe set, whatever
// becomes of it, or the breaker stays half open until another probe does.
func (b *Breaker) Admit(now int64) (ok, probe bool) {
	for {
		w := b.word.Load()
		p := unpack(w)
		switch {
		case p.state == Closed:
			return true, false
		case millis(now) < p.until:
			return false, false
		}
		p.state, p.until = HalfOpen, millis(now+int64(ProbePatience))
		if b.word.CompareAndSwap(w, p.pack()) {
			return true, true
		}
	}
}

// Success takes in a good outcome. Outcomes of requests that were sent before
// the breaker opened are old news and change nothing while it is not closed.
func (b *Breaker) Success(probe bool) Change {
	for {
		w := b.word.Load()
		p := unpack(w)
		if p.state == Closed && p.failures == 0 || p.state != Closed && !(probe && p.state == HalfOpen) {
			return None // the usual way: nothing is written, no cache line moves
		}
		if b.word.CompareAndSwap(w, 0) {
			if p.state == HalfOpen {
				return Recovered
			}
			return None
		}
	}
}

// Failure takes in a bad outcome at now; random is uniform over 64 bits.
func (b *Breaker) Failure(c *Config, now int64, random uint64, probe bool) Change {
	if c.Disabled && !probe {
		return None
	}
	for {
		w := b.word.Load()
		p := unpack(w)
		change := None
		switch {
		case p.state == HalfOpen && probe:
			p.growth = min(p.growth+1, maxGrowth)
			p.state, p.until = Open, c.until(now, p.growth, random)
			change = Reopened
		case p.state != Closed:
			return None
		default:
			p.failures = min(p.failures+1, maxFailures)
			if p.failures >= uint64(c.Consecutive) {
				change = Ripe
			}
		}
		if b.word.CompareAndSwap(w, p.pack()) {
			return change
		}
	}
}

// Abandon gives the probe back without an outcome. It does nothing unless probe.
func (b *Breaker) Abandon(probe bool) Change {
	if !probe {
		return None
	}
	for {
		w := b.word.Load()
		p := unpack(w)
		if p.state != HalfOpen {
			return None
		}
		p.state, p.until = Open, 0 // due
		if b.word.CompareAndSwap(w, p.pack()) {
			return Abandoned
		}
	}
}

// Open opens a ripe breaker at now. False: it was opened already, or a success
// came in between.
func (b *Breaker) Open(c *Config, now int64, random uint64) bool {
	for {
		w := b.word.Load()
		p := unpack(w)
		if c.Disabled || p.state != Closed || p.failures < uint64(c.Consecutive) {
			return false
		}
		p.state, p.until = Open, c.until(now, p.growth, random)
		if b.word.CompareAndSwap(w, p.pack()) {
			return true
		}
	}
}

// Close closes the breaker whatever its state and forgets everything. An owner
// that has nothing else left to use calls it.
func (b *Breaker) Close() { b.word.Store(0) }

// until returns the end of an ejection that starts now, in ms, never early.
func (c *Config) until(now int64, growth, random uint64) uint64 {
	d := c.MaxEjection
	if growth < 62 && c.BaseEjection <= c.MaxEjection>>growth {
		d = c.BaseEjection << growth
	}
	shorter, _ := bits.Mul64(random, uint64(d)/5+1)
	return uint64(now+int64(d)-int64(shorter)+int64(time.Millisecond)-1) / uint64(time.Millisecond) & untilMask
}

func millis(now int64) uint64 { return uint64(now) / uint64(time.Millisecond) & untilMask }
