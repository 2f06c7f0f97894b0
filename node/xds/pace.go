package xds

import "time"

// restShare is how many times as long as it works on a response a session rests
// before the next: it takes a quarter of a CPU at most, away from the loops,
// however fast the control plane talks. What changes meanwhile comes in one
// response. A configuration of a few hundred services rests a few milliseconds.
const restShare = 3

// maxRest bounds a rest, so that a change is live within 100 ms.
const maxRest = 50 * time.Millisecond

// pace spaces out the work on responses. The zero value has rested.
type pace struct{ until time.Time }

// work runs f and sets the rest after it.
func (p *pace) work(f func()) {
	started := time.Now()
	f()
	now := time.Now()
	p.until = now.Add(min(restShare*now.Sub(started), maxRest))
}

// rest is a timer for the end of the rest, and whether that is over already: then
// the timer does not fire.
func (p *pace) rest() (timer *time.Timer, over bool) {
	if left := time.Until(p.until); left > 0 {
		return time.NewTimer(left), false
	}
	return time.NewTimer(24 * time.Hour), true
}
