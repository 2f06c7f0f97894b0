package reactor

import (
	"errors"
	"iter"
	"runtime/debug"
	"time"
)

const (
	sparesKept   = 16          // idle coroutines that are kept however quiet it is
	trimInterval = time.Second // how long a coroutine above that must have been idle to be ended
	turnBudget   = 256 << 10   // bytes a coroutine may move before the others get their turn
	beatBudget   = 4 << 20     // bytes that all may move in a turn until the heartbeat is seen to
	opCost       = 4 << 10     // what a system call counts in that budget at least
	lastWaits    = 1000        // waits a coroutine may still try on a loop that is ending
)

var (
	errGoexit = errors.New("runtime.Goexit on a loop")
	errEnded  = errors.New("wait on a loop that is ending")
)

// Task is what a coroutine runs. Usually the object that has the state: a pointer in an interface
// costs no allocation.
type Task interface{ Run() }

// coro is one pooled coroutine. Its goroutine lives in iter.Pull and runs task after task.
type coro struct {
	// set at construction
	loop  *Loop
	next  func() (struct{}, bool) // resume; on the loop only
	stop  func()                  // end it while it is idle
	index int                     // in pool.all

	// owned by the loop
	yield  func(struct{}) bool
	task   Task
	serial uint64 // of the task: what conns note as their user
	queued bool   // in ready or running
	live   bool   // has a task
	left   int    // waits left on an ending loop
	timer  Timer  // Sleep
}

// pool holds the coroutines of one loop, idle ones last in, first out: their stacks are warm.
type pool struct {
	loop    *Loop
	all     []*coro
	idle    []*coro
	live    int
	least   int // the fewest idle ones since the last trim: nobody needed those
	serial  uint64
	trimmer Timer
}

func (p *pool) init(l *Loop) {
	p.loop = l
	p.trimmer.F = p.trim
}

// Go runs t in a coroutine, beginning in this or the next turn. A panic in it closes the conns that it was the
// last to use (parked ones excepted) and is counted; nothing else is touched.
func (l *Loop) Go(t Task) {
	p := &l.pool
	var co *coro
	if n := len(p.idle); n > 0 {
		co = p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.least = min(p.least, n-1)
	} else {
		co = p.grow()
	}
	p.live++
	p.serial++
	co.task, co.serial, co.live, co.left = t, p.serial, true, lastWaits
	co.wake()
}

func (p *pool) grow() *coro {
	co := &coro{loop: p.loop, index: len(p.all)}
	co.timer.owner = co
	co.next, co.stop = iter.Pull(co.run)
	p.all = append(p.all, co)
	return co
}

// run is the coroutine's goroutine: one task after the other until stop.
func (co *coro) run(yield func(struct{}) bool) {
	co.yield = yield
	for {
		co.perform()
		co.loop.pool.retire(co)
		if !yield(struct{}{}) {
			return
		}
	}
}

func (co *coro) perform() {
	defer func() {
		if v := recover(); v != nil {
			co.loop.fault(v, debug.Stack())
		}
	}()
	co.task.Run()
}

func (p *pool) retire(co *coro) {
	co.task, co.live = nil, false
	co.timer.Stop()
	p.live--
	p.idle = append(p.idle, co)
	if len(p.idle) > sparesKept && !p.trimmer.Armed() {
		p.least = len(p.idle)
		p.loop.After(&p.trimmer, trimInterval)
	}
}

// trim ends the coroutines that nobody needed since it was armed, so that a burst's stacks are
// given back and a steady load keeps what it uses.
func (p *pool) trim() {
	for spare := min(p.least, len(p.idle)-sparesKept); spare > 0; spare-- {
		co := p.idle[0]
		p.idle = append(p.idle[:0], p.idle[1:]...)
		p.drop(co)
	}
	p.least = len(p.idle)
	if len(p.idle) > sparesKept {
		p.loop.After(&p.trimmer, trimInterval)
	}
}

func (p *pool) drop(co *coro) {
	co.stop()
	last := p.all[len(p.all)-1]
	p.all[co.index], last.index = last, co.index
	p.all[len(p.all)-1] = nil
	p.all = p.all[:len(p.all)-1]
}

// drain ends all coroutines; none is live.
func (p *pool) drain() {
	for len(p.all) > 0 {
		p.drop(p.all[len(p.all)-1])
	}
	p.idle = nil
}

func (p *pool) wakeAll() {
	for _, co := range p.all {
		if co.live {
			co.wake()
		}
	}
}

// wake makes a coroutine run in the next round. Waking is a hint: whoever waits looks again.
func (co *coro) wake() {
	if !co.queued {
		co.queued = true
		co.loop.ready = append(co.loop.ready, co)
	}
}

func (co *coro) expire() { co.wake() }

// runReady resumes every coroutine that was ready when it was called. A thousand of them may each
// have 256 KiB to move: the heartbeat does not wait for the last.
func (l *Loop) runReady() {
	moved := 0
	if l.nextRun == len(l.running) {
		l.running, l.ready, l.nextRun = l.ready, l.running[:0], 0
	}
	for l.nextRun < len(l.running) {
		co := l.running[l.nextRun]
		l.nextRun++
		co.queued = false
		if !co.live {
			continue
		}
		l.current, l.budget = co, turnBudget
		co.next()
		l.current = nil
		if moved += turnBudget - l.budget; moved >= beatBudget {
			moved = 0
			l.read()
			l.beat()
		}
	}
	l.running, l.nextRun = l.running[:0], 0
}

// suspend gives the loop away until the coroutine is woken, perhaps for no reason.
func (co *coro) suspend() {
	l := co.loop
	if l.stopping {
		// Whatever it waits for will not come. It may settle its affairs, not go on for ever.
		if co.left--; co.left < 0 {
			panic(errEnded)
		}
		co.wake()
	}
	co.yield(struct{}{})
}

// Yield lets everything else that is ready run first. In a coroutine.
func (l *Loop) Yield() {
	co := l.mustCurrent()
	co.wake()
	co.suspend()
}

// Sleep returns d from now, or soon when the loop is ending. In a coroutine.
func (l *Loop) Sleep(d time.Duration) {
	co := l.mustCurrent()
	until := l.now + int64(d)
	l.After(&co.timer, d)
	for ending := false; l.now < until && !ending; {
		ending = l.stopping
		co.suspend()
	}
	co.timer.Stop()
}

func (l *Loop) mustCurrent() *coro {
	if l.current == nil {
		panic("reactor: wait outside a coroutine")
	}
	return l.current
}

// Signal is where one coroutine waits for another, for a callback or (through Loop.Post) for a
// goroutine. The zero value is ready to use; it belongs to a loop.
type Signal struct {
	waiter *coro
	set    bool
}

// Set makes the present or else the next Wait return true.
func (s *Signal) Set() {
	s.set = true
	if s.waiter != nil {
		s.waiter.wake()
	}
}

// Wait returns true once the signal was set, and takes it back; false when the loop is ending. In
// a coroutine; one waits at a time.
func (s *Signal) Wait(l *Loop) bool {
	co := l.mustCurrent()
	s.waiter = co
	for ending := false; !s.set && !ending; {
		ending = l.stopping
		co.suspend()
	}
	s.waiter = nil
	was := s.set
	s.set = false
	return was
}

// WaitUntil is Wait with a bound: false also when now (ns on the loop's clock) is at or past at.
func (s *Signal) WaitUntil(l *Loop, at int64) bool {
	co := l.mustCurrent()
	s.waiter = co
	l.wheel.arm(&co.timer, at)
	for ending := false; !s.set && l.now < at && !ending; {
		ending = l.stopping
		co.suspend()
	}
	co.timer.Stop()
	s.waiter = nil
	was := s.set
	s.set = false
	return was
}

// fault settles a panic in the current coroutine or, outside of one, in the handler of a conn.
func (l *Loop) fault(v any, stack []byte) {
	l.counters.panics++
	if co := l.current; co != nil {
		for i := range l.slots {
			if c := l.slots[i].conn; c != nil && c.user == co.serial && c.flags&flagParked == 0 {
				c.Abort()
			}
		}
		if v == errGoexit {
			l.pool.lost(co)
		}
	} else if l.acting != nil {
		l.acting.Abort()
	}
	l.acting = nil
	if l.panicked != nil && v != errEnded {
		l.panicked(l.id, v, stack)
	}
}

// lost forgets a coroutine whose goroutine has gone.
func (p *pool) lost(co *coro) {
	p.loop.current = nil
	co.live = false
	co.timer.Stop()
	p.live--
	p.drop(co)
}
