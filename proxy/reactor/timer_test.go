package reactor

import (
	"math/rand/v2"
	"sort"
	"testing"
	"time"
)

// TestWheelAgainstModel arms, moves and stops timers at random and compares with a sorted list.
func TestWheelAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		checkWheel(t, rand.New(rand.NewPCG(seed, 1)))
	}
}

func checkWheel(t *testing.T, r *rand.Rand) {
	type entry struct {
		Timer
		due   int64 // 0: not armed
		fired int
	}
	now := int64(r.Uint64N(1 << 50))
	var w wheel
	w.init(now)
	timers := make([]entry, 200)
	for i := range timers {
		e := &timers[i]
		e.F = func() { e.due = 0; e.fired++ }
	}
	for step := range 3000 {
		e := &timers[r.IntN(len(timers))]
		switch r.IntN(4) {
		case 0, 1:
			e.due = now + int64(r.Uint64N(1<<r.UintN(50)))
			w.arm(&e.Timer, e.due)
		case 2:
			if was := e.due != 0; e.Stop() != was {
				t.Fatalf("step %d: Stop() = %v", step, !was)
			}
			e.due = 0
		case 3:
			now += int64(r.Uint64N(1 << r.UintN(45)))
			if next, ok := w.next(); ok {
				if first := earliest(len(timers), func(i int) int64 { return timers[i].due }); next > first {
					t.Fatalf("step %d: next() = %d, but a timer is due at %d", step, next, first)
				}
			}
			w.advance(now)
			for i := range timers {
				if d := timers[i].due; d != 0 && d <= now {
					t.Fatalf("step %d: timer due at %d has not fired at %d", step, d, now)
				}
			}
		}
		armed := 0
		for i := range timers {
			if timers[i].due != 0 {
				armed++
			}
			if timers[i].Armed() != (timers[i].due != 0) {
				t.Fatalf("step %d: timer %d fired early or was lost", step, i)
			}
		}
		if armed != w.armed {
			t.Fatalf("step %d: %d armed, want %d", step, w.armed, armed)
		}
	}
}

func earliest(n int, due func(int) int64) int64 {
	var all []int64
	for i := range n {
		if d := due(i); d != 0 {
			all = append(all, d)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	if len(all) == 0 {
		return 1<<63 - 1
	}
	return all[0]
}

// TestWheelReachesNext checks that following next() alone gets every timer fired, in few steps (years away: a few more).
func TestWheelReachesNext(t *testing.T) {
	for _, d := range []time.Duration{0, 1, time.Microsecond, time.Millisecond, 67 * time.Millisecond, time.Second, time.Hour, 1000 * time.Hour, 100000 * time.Hour} {
		var w wheel
		now := int64(12345678901)
		w.init(now)
		due := now + int64(d)
		fired := false
		tm := Timer{F: func() { fired = true }}
		w.arm(&tm, due)
		steps := 0
		for ; !fired && steps < 50; steps++ {
			next, ok := w.next()
			if !ok {
				t.Fatalf("%v: nothing is armed", d)
			}
			now = max(now, next)
			w.advance(now)
			if fired && now < due {
				t.Errorf("%v: fired %v early", d, time.Duration(due-now))
			}
		}
		if !fired || now > due {
			t.Errorf("%v: fired %v at %v after it was due, %d steps", d, fired, time.Duration(now-due), steps)
		}
	}
}

// TestTimersTouchEachOther: callbacks stop and arm timers that are due in the same advance.
func TestTimersTouchEachOther(t *testing.T) {
	var w wheel
	w.init(0)
	var a, b, c Timer
	var got string
	a.F = func() { got += "a"; b.Stop(); w.arm(&c, 30) }
	b.F = func() { got += "b" }
	c.F = func() { got += "c" }
	w.arm(&a, 10)
	w.arm(&b, 10)
	w.arm(&c, 10)
	w.advance(20)
	if got != "a" {
		t.Errorf("fired %q, want a alone", got)
	}
	w.advance(30)
	if got != "ac" || w.armed != 0 {
		t.Errorf("fired %q, %d left", got, w.armed)
	}
}

func BenchmarkTimer(b *testing.B) {
	var w wheel
	w.init(0)
	timers := make([]Timer, 1000)
	for i := range timers {
		timers[i].F = func() {}
	}
	b.ReportAllocs()
	for i := range b.N {
		w.arm(&timers[i%1000], int64(i)*100+int64(i%17)*1e9)
		if i%64 == 0 {
			w.advance(int64(i) * 100)
		}
	}
}
