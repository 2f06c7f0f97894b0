package reactor

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Config describes a Group. The zero value is a group of one loop per CPU on the real clock.
type Config struct {
	// Loops is the number of loops, runtime.NumCPU by default.
	Loops int
	// Clock returns monotonic nanoseconds; any goroutine calls it. nil: CLOCK_MONOTONIC, the clock
	// of bpf_ktime_get_ns. With a clock of one's own the loops never wake by time: call Group.Wake
	// after moving it.
	Clock func() int64
	// Tick is called on each loop at least every 50 ms while that loop turns: a heartbeat. May be nil.
	Tick func(loop int, now int64)
	// Panicked is called on the loop after a coroutine or a callback panicked (or called
	// runtime.Goexit: v is then an error that says so). Its conns are closed by then and the loop goes on. May be nil.
	Panicked func(loop int, v any, stack []byte)
}

// Group is a set of loops that start and end together. All its methods may be called from ANY
// GOROUTINE.
type Group struct {
	loops   []*Loop
	started atomic.Bool
	running sync.WaitGroup
}

// LoopStats is what a loop has done since it began; Conns, Coroutines and Lag are of now.
type LoopStats struct {
	Turns, Events, Panics, Timers     uint64
	AcceptErrors                      uint64        // accepts that failed for want of descriptors or memory
	Busy                              time.Duration // time spent not waiting for events
	Conns, Coroutines, IdleCoroutines int64
	Lag                               time.Duration // the longest turn of the last full second
}

// New opens the loops' descriptors and starts nothing: Run does, and only Run closes them (also
// with a context that is done).
func New(c Config) (*Group, error) {
	if c.Loops <= 0 {
		c.Loops = runtime.NumCPU()
	}
	fake := c.Clock != nil
	if !fake {
		c.Clock = monotonic()
	}
	g := &Group{}
	for i := range c.Loops {
		l, err := newLoop(i, &c, fake)
		if err != nil {
			for _, l := range g.loops {
				l.closeFDs()
			}
			return nil, fmt.Errorf("open loop %d: %w", i, err)
		}
		g.loops = append(g.loops, l)
	}
	return g, nil
}

// monotonic is CLOCK_MONOTONIC at the price of the runtime's own clock.
func monotonic() func() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail for this clock
	start, offset := time.Now(), ts.Nano()
	return func() int64 { return offset + int64(time.Since(start)) }
}

// Run turns the loops until ctx is done, then closes every conn and listener (parked conns become
// ready, waiting coroutines get net.ErrClosed), lets every coroutine come to its end and returns.
// It may be called once.
func (g *Group) Run(ctx context.Context) error {
	if g.started.Swap(true) {
		return errors.New("run a group of loops twice")
	}
	for _, l := range g.loops {
		g.running.Go(l.run)
	}
	stop := context.AfterFunc(ctx, func() {
		for _, l := range g.loops {
			l.Post(l.stop)
		}
	})
	defer stop()
	g.running.Wait()
	return context.Cause(ctx)
}

// Loop returns loop i of Len.
func (g *Group) Loop(i int) *Loop { return g.loops[i] }

// Len is the number of loops.
func (g *Group) Len() int { return len(g.loops) }

// LeastBusy returns the loop that has the fewest conns.
func (g *Group) LeastBusy() *Loop {
	best := g.loops[0]
	for _, l := range g.loops[1:] {
		if l.Conns() < best.Conns() {
			best = l
		}
	}
	return best
}

// Wake makes every loop turn once and look at the clock.
func (g *Group) Wake() {
	for _, l := range g.loops {
		l.notify()
	}
}

// Stats returns the counters of every loop, by loop.
func (g *Group) Stats() []LoopStats {
	out := make([]LoopStats, len(g.loops))
	for i, l := range g.loops {
		out[i] = l.counters.read()
	}
	return out
}
