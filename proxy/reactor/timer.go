package reactor

import (
	"math"
	"math/bits"
	"time"
)

const (
	tickBits    = 20 // one wheel tick is 2^20 ns, about 1.05 ms: a shift instead of a division
	levelBits   = 6
	levelSlots  = 1 << levelBits
	wheelLevels = 6                                     // 64^6 ticks, about two years
	wheelSpan   = int64(1)<<(levelBits*wheelLevels) - 1 // the farthest tick from now that has a slot
	noSlot      = math.MaxUint16                        // being fired: in no slot
)

// Timer is an intrusive one-shot timer: embed it in the object it serves, arm it with Loop.After.
// Arming, re-arming and stopping cost O(1) and allocate nothing. It fires never early, and late by
// the length of a turn at most (plus epoll's millisecond).
type Timer struct {
	// F runs on the loop when the timer fires. Set it before After; not changed by this package.
	F func()

	// owned by the wheel while armed
	owner      expirer // set instead of F for this package's own timers
	wheel      *wheel
	next, prev *Timer
	when       int64 // ns on the loop's clock
	slot       uint16
}

type expirer interface{ expire() }

// After arms t to fire d from now, replacing an earlier arming. d <= 0 fires in the next turn.
func (l *Loop) After(t *Timer, d time.Duration) {
	l.wheel.arm(t, l.now+int64(d))
}

// Stop disarms t and tells whether it was armed. A timer that was never armed may be stopped.
func (t *Timer) Stop() bool {
	if t.next == nil {
		return false
	}
	t.wheel.remove(t)
	return true
}

// Armed tells whether t is waiting to fire.
func (t *Timer) Armed() bool { return t.next != nil }

// wheel is a hierarchical timing wheel. The level of a timer is the highest group of six bits in
// which its tick differs from the current tick, so a whole level is later than all levels below it
// and the next expiry is found from one bitmap per level.
type wheel struct {
	now      int64 // the current tick; slots before it are empty
	armed    int
	occupied [wheelLevels]uint64
	slots    [wheelLevels * levelSlots]Timer // list heads
	firing   Timer                           // list head: taken from a slot, not yet looked at
	due      Timer                           // list head: to be fired
}

func (w *wheel) init(now int64) {
	w.now = now >> tickBits
	for i := range w.slots {
		h := &w.slots[i]
		h.next, h.prev = h, h
	}
	w.firing.next, w.firing.prev = &w.firing, &w.firing
	w.due.next, w.due.prev = &w.due, &w.due
}

func (w *wheel) arm(t *Timer, when int64) {
	if t.next != nil {
		w.remove(t)
	}
	t.wheel, t.when = w, when
	w.insert(t)
	w.armed++
}

func (w *wheel) insert(t *Timer) {
	// Later than the wheel can hold: wait at its end, then cascade again.
	tick := min(max(t.when>>tickBits, w.now), w.now+wheelSpan>>1)
	level := 0
	if differ := uint64(tick ^ w.now); differ != 0 {
		level = min((63-bits.LeadingZeros64(differ))/levelBits, wheelLevels-1)
	}
	at := int(tick>>(level*levelBits)) & (levelSlots - 1)
	w.occupied[level] |= 1 << at
	t.slot = uint16(level*levelSlots + at)
	link(&w.slots[t.slot], t)
}

func (w *wheel) remove(t *Timer) {
	unlink(t)
	w.armed--
	if t.slot == noSlot {
		return
	}
	if h := &w.slots[t.slot]; h.next == h {
		w.occupied[t.slot/levelSlots] &^= 1 << (t.slot % levelSlots)
	}
}

// next returns a time before which nothing fires and at or soon after which something may; false
// when nothing is armed.
func (w *wheel) next() (int64, bool) {
	if w.armed == 0 {
		return 0, false
	}
	tick, _, ok := w.nextSlot()
	if !ok {
		return 0, false
	}
	if tick > w.now {
		return tick << tickBits, true
	}
	// The current tick has begun: only the timers themselves know what is left of it.
	first := int64(math.MaxInt64)
	head := &w.slots[w.now&(levelSlots-1)]
	for t := head.next; t != head; t = t.next {
		first = min(first, t.when)
	}
	return first, true
}

// nextSlot finds the earliest occupied slot: its first tick and its index.
func (w *wheel) nextSlot() (tick int64, slot int, ok bool) {
	for level := range wheelLevels {
		if w.occupied[level] == 0 {
			continue
		}
		shift := level * levelBits
		here := int(w.now>>shift) & (levelSlots - 1)
		ahead := bits.TrailingZeros64(bits.RotateLeft64(w.occupied[level], -here))
		tick = (w.now>>shift + int64(ahead)) << shift
		return max(tick, w.now), level*levelSlots + (here+ahead)&(levelSlots-1), true
	}
	return 0, 0, false
}

// advance fires every timer due at now and returns how many.
func (w *wheel) advance(now int64) int {
	fired, target := w.fire(), now>>tickBits
	if w.armed == 0 {
		w.now = max(w.now, target)
		return 0
	}
	for {
		tick, slot, ok := w.nextSlot()
		if !ok || tick > target {
			w.now = max(w.now, target)
			return fired
		}
		w.now = tick
		w.take(slot)
		w.sift(now)
		fired += w.fire()
		if tick == target {
			return fired // what is left of this tick is not due yet
		}
	}
}

// take moves a slot's timers to the firing list.
func (w *wheel) take(slot int) {
	head := &w.slots[slot]
	w.occupied[slot/levelSlots] &^= 1 << (slot % levelSlots)
	first, last := head.next, head.prev
	head.next, head.prev = head, head
	first.prev, last.next = &w.firing, &w.firing
	w.firing.next, w.firing.prev = first, last
	for t := first; t != &w.firing; t = t.next {
		t.slot = noSlot
	}
}

// sift splits the firing list: what is due goes to the due list, the rest back into the wheel.
func (w *wheel) sift(now int64) {
	for w.firing.next != &w.firing {
		t := w.firing.next
		unlink(t)
		if t.when > now {
			w.insert(t)
			continue
		}
		t.slot = noSlot
		link(&w.due, t)
	}
}

// fire runs what is due. Callbacks may arm and stop anything, also timers that are due. One that
// panics leaves the others in the due list, for the next advance.
func (w *wheel) fire() (fired int) {
	for w.due.next != &w.due {
		t := w.due.next
		unlink(t)
		w.armed--
		fired++
		if t.owner != nil {
			t.owner.expire()
		} else {
			t.F()
		}
	}
	return fired
}

func link(head, t *Timer) {
	t.prev, t.next = head.prev, head
	head.prev.next = t
	head.prev = t
}

func unlink(t *Timer) {
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
}
