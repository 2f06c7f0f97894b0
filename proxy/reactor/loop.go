package reactor

import (
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	eventBatch   = 256
	tickInterval = int64(40 * time.Millisecond) // the contract of Config.Tick is 50
	cedeInterval = int64(8 * time.Millisecond)  // less than the runtime's time slice of 10
	longWait     = int64(4 * time.Millisecond)  // a loop that waits so long is not busy
	wakeSlot     = -1                           // the eventfd's slot in epoll data
)

// Loop is one epoll loop: the owner of its conns, timers and coroutines. See the package comment
// for who may call what from where.
type Loop struct {
	// set at construction
	id        int
	epfd      int
	wakefd    int
	clock     func() int64
	fakeClock bool
	tick      func(loop int, now int64)
	panicked  func(loop int, v any, stack []byte)
	counters  counters

	// guarded by mu
	mu    sync.Mutex
	posts []func()
	ended bool

	// owned by the loop
	now      int64
	lastTick int64
	ceded    int64 // when it last went through Go's scheduler
	wheel    wheel
	slots    []slot
	free     []uint32 // free slots
	pool     pool
	current  *coro   // the coroutine that runs, nil on the loop itself
	budget   int     // bytes the current coroutine may still move before it has to yield
	ready    []*coro // to be run in the next turn
	due      []*Conn // parked with bytes already there: to be handed over in the next turn
	vectors  [maxVectors]syscall.Iovec
	message  syscall.Msghdr
	address  syscall.RawSockaddrAny
	splices  []*Splice // empty pipes
	splicing int       // pipes in use
	stopping bool

	// owned by the turn; kept here so that a turn that panicked is gone on with, and no edge is lost
	events           [eventBatch]syscall.EpollEvent
	event, eventsEnd int
	running          []*coro
	nextRun          int
	handing          []*Conn
	posted           []func()
	nextPost         int
	acting           *Conn // whose handler runs
}

// slot is what an epoll event's data leads to. The generation tells a conn from an earlier one in
// the same slot that was closed within the batch.
type slot struct {
	conn       *Conn
	listener   *Listener
	generation uint32
}

func newLoop(id int, c *Config, fake bool) (*Loop, error) {
	l := &Loop{id: id, clock: c.Clock, fakeClock: fake, tick: c.Tick, panicked: c.Panicked, epfd: -1, wakefd: -1}
	var err error
	if l.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if l.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		l.closeFDs()
		return nil, err
	}
	// Edge-triggered: every write to the eventfd is an edge, so nobody ever has to read it.
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN | unix.EPOLLET, Fd: wakeSlot}
	if e := epollCtl(l.epfd, syscall.EPOLL_CTL_ADD, l.wakefd, &ev); e != 0 {
		l.closeFDs()
		return nil, e
	}
	l.now = l.clock()
	l.lastTick = l.now
	l.wheel.init(l.now)
	l.pool.init(l)
	return l, nil
}

func (l *Loop) closeFDs() {
	for _, fd := range []int{l.epfd, l.wakefd} {
		if fd >= 0 {
			closeFD(fd)
		}
	}
}

// ID is the loop's index in its group. ANY GOROUTINE.
func (l *Loop) ID() int { return l.id }

// Now is the group's clock in ns, read once per turn (and again after a coroutine came back from a wait).
func (l *Loop) Now() int64 { return l.now }

// Clock is the group's clock in ns, read now: for measuring what happens within a turn.
func (l *Loop) Clock() int64 { return l.clock() }

// Conns is the number of open conns. ANY GOROUTINE.
func (l *Loop) Conns() int { return int(l.counters.conns.Load()) }

// Post has f run on the loop, in order, soon. ANY GOROUTINE. It returns false, and f never runs,
// when the loop has ended. The queue is as long as its callers make it: post what is bounded.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return false
	}
	l.posts = append(l.posts, f)
	first := len(l.posts) == 1
	if first {
		// Under the lock, so that the descriptor is not closed (and reused) in between.
		l.wake()
	}
	l.mu.Unlock()
	return true
}

func (l *Loop) notify() {
	l.mu.Lock()
	if !l.ended {
		l.wake()
	}
	l.mu.Unlock()
}

func (l *Loop) wake() {
	one := [8]byte{1}
	_, _ = unix.Write(l.wakefd, one[:]) // EAGAIN: it is signalled already
}

// run turns the loop until it was stopped and everything on it has come to its end. A coroutine
// that calls runtime.Goexit takes the goroutine that resumed it along (so iter.Pull is specified):
// then the loop goes on in another one.
func (l *Loop) run() {
	finished := false
	defer func() {
		if finished {
			return
		}
		if v := recover(); v != nil {
			panic(v) // Config.Panicked itself panicked: nobody is left to tell
		}
		l.fault(errGoexit, debug.Stack())
		again := make(chan struct{})
		go func() {
			defer close(again)
			l.run()
		}()
		<-again
	}()
	for !l.stopping || l.busy() {
		l.guardedTurn()
	}
	l.end()
	finished = true
}

// busy tells whether a stopping loop still has something to bring to its end.
func (l *Loop) busy() bool {
	return l.pool.live > 0 || l.unfinished() || len(l.ready)+len(l.due) > 0
}

// unfinished tells whether a panic cut the last turn short.
func (l *Loop) unfinished() bool {
	return l.event < l.eventsEnd || len(l.running)+len(l.handing)+len(l.posted) > 0
}

func (l *Loop) guardedTurn() {
	defer func() {
		if v := recover(); v != nil {
			l.fault(v, debug.Stack())
		}
	}()
	l.turn()
}

// turn waits for something to do and does it: timers, posts, events, and then the coroutines that
// these made ready. What becomes ready meanwhile waits for the next turn, so that no coroutine
// keeps the loop from its sockets.
func (l *Loop) turn() {
	if !l.unfinished() {
		l.wait()
	}
	l.counters.timers += uint64(l.wheel.advance(l.now))
	l.beat()
	l.runPosts()
	for l.event < l.eventsEnd {
		ev := &l.events[l.event]
		l.event++
		l.dispatch(ev)
	}
	if len(l.handing) == 0 {
		l.handing, l.due = l.due, l.handing[:0]
	}
	for len(l.handing) > 0 {
		c := l.handing[len(l.handing)-1]
		l.handing = l.handing[:len(l.handing)-1]
		c.flags &^= flagDue
		if c.flags&flagParked != 0 {
			l.handOver(c)
		}
	}
	l.runReady()
	l.counters.publish(l)
}

// wait collects events: without blocking while there is work, else until the next timer.
//
// A wait blocks at once, as an ordinary system call. Looking without blocking first, yielding the
// CPU, and holding the processor in a raw call for a millisecond were measured in a forwarder at 1, 8 and 64
// connections: no gain, and the last costs up to a quarter more CPU when there is little to do.
func (l *Loop) wait() {
	l.cede()
	n := 0
	if len(l.ready)+len(l.due) > 0 || l.stopping {
		n, _ = poll(l.epfd, l.events[:])
		l.read()
		l.counters.lap(l.now)
	} else {
		l.read()
		l.counters.lap(l.now)
		began := l.now
		n, _ = block(l.epfd, l.events[:], l.timeout())
		l.read()
		if l.now-began >= longWait {
			l.ceded = l.now
		}
		l.counters.resume(l.now)
	}
	l.event, l.eventsEnd = 0, max(n, 0) // an interrupted call is an empty turn
}

// cede goes through Go's scheduler before a wait, now and then while the loop is busy. Neither a
// wait nor a coroutine counts as a pause there (Go 1.26): after 10 ms the runtime's monitor takes
// the loop for a goroutine that hogs its processor, takes the processor away in every wait that it
// meets, signals the thread otherwise, and wakes every 70 us for that: at 64 connections 3 % of the
// node's CPU per request on a quiet machine and up to a fifth on a busy one. A loop with little to
// do is better off without its processor: then the monitor sleeps too.
func (l *Loop) cede() {
	if l.now-l.ceded >= cedeInterval {
		l.ceded = l.now
		runtime.Gosched()
	}
}

// read sets now; a clock never goes back.
func (l *Loop) read() { l.now = max(l.now, l.clock()) }

// timeout is how long to block, in epoll's milliseconds, rounded up; -1 without end.
func (l *Loop) timeout() int {
	wait, armed := int64(time.Hour), false
	if next, ok := l.wheel.next(); ok {
		wait, armed = min(wait, next-l.now), true
	}
	if l.fakeClock && wait > 0 {
		return -1 // only Group.Wake tells that time has passed
	}
	if l.tick != nil {
		wait, armed = min(wait, l.lastTick+tickInterval-l.now), true
	}
	if !armed {
		return -1
	}
	return int((max(wait, 0) + int64(time.Millisecond) - 1) / int64(time.Millisecond))
}

func (l *Loop) beat() {
	if l.tick != nil && l.now-l.lastTick >= tickInterval/2 {
		l.lastTick = l.now
		l.tick(l.id, l.now)
	}
}

func (l *Loop) runPosts() {
	if len(l.posted) == 0 {
		l.mu.Lock()
		l.posts, l.posted = l.posted, l.posts
		l.mu.Unlock()
	}
	for l.nextPost < len(l.posted) {
		f := l.posted[l.nextPost]
		l.posted[l.nextPost] = nil
		l.nextPost++
		f()
	}
	l.posted, l.nextPost = l.posted[:0], 0
}

func (l *Loop) dispatch(ev *syscall.EpollEvent) {
	if ev.Fd == wakeSlot {
		return
	}
	s := &l.slots[ev.Fd]
	if s.generation != uint32(ev.Pad) {
		return // closed within this batch
	}
	if s.conn != nil {
		s.conn.event(ev.Events)
	} else {
		s.listener.accept()
	}
}

// register puts a descriptor into epoll under a new slot.
func (l *Loop) register(fd int, events uint32, s slot) (uint32, error) {
	var at uint32
	if n := len(l.free); n > 0 {
		at = l.free[n-1]
		l.free = l.free[:n-1]
		s.generation = l.slots[at].generation
	} else {
		at = uint32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	l.slots[at] = s
	ev := syscall.EpollEvent{Events: events, Fd: int32(at), Pad: int32(s.generation)}
	if e := epollCtl(l.epfd, syscall.EPOLL_CTL_ADD, fd, &ev); e != 0 {
		l.release(at)
		return 0, e
	}
	return at, nil
}

func (l *Loop) release(at uint32) {
	l.slots[at] = slot{generation: l.slots[at].generation + 1}
	l.free = append(l.free, at)
}

// stop makes the loop come to its end: see Group.Run.
func (l *Loop) stop() {
	if l.stopping {
		return
	}
	l.stopping = true
	for i := range l.slots {
		switch s := &l.slots[i]; {
		case s.conn != nil:
			s.conn.shut()
		case s.listener != nil:
			_ = s.listener.Close()
		}
	}
	l.pool.wakeAll()
}

// end runs the posts that came too late for a turn, then refuses further ones.
func (l *Loop) end() {
	for {
		l.mu.Lock()
		if len(l.posts) == 0 {
			l.ended = true
			l.closeFDs()
			l.mu.Unlock()
			break
		}
		l.mu.Unlock()
		l.guardedTurn()
		for l.busy() {
			l.guardedTurn()
		}
	}
	for _, s := range l.splices {
		s.close()
	}
	l.splices = nil
	l.pool.drain()
	l.counters.publish(l)
}
