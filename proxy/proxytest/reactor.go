package proxytest

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/reactor"
	"golang.org/x/sys/unix"
)

// Reactor is a running group of loops on a fake clock.
type Reactor struct {
	*reactor.Group
	t      testing.TB
	clock  atomic.Int64
	panics atomic.Int64
	end    func()
}

// Start runs a group until the test ends. The clock begins at one hour and stands still until
// Advance. A panic in a coroutine fails the test (see AllowPanics).
func Start(t testing.TB, loops int) *Reactor {
	t.Helper()
	r := &Reactor{t: t}
	r.clock.Store(int64(time.Hour))
	g, err := reactor.New(reactor.Config{
		Loops: loops,
		Clock: r.Now,
		Panicked: func(loop int, v any, stack []byte) {
			if r.panics.Add(-1) < 0 {
				t.Errorf("panic on loop %d: %v\n%s", loop, v, stack)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Group = g
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Run(ctx)
	}()
	r.end = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("the reactor does not end: a coroutine of it hangs")
		}
	}
	t.Cleanup(r.end)
	return r
}

// End ends the group before the test does, and waits for it.
func (r *Reactor) End() { r.end() }

// Now is the fake clock, in ns.
func (r *Reactor) Now() int64 { return r.clock.Load() }

// AllowPanics lets the next n panics pass without failing the test.
func (r *Reactor) AllowPanics(n int) { r.panics.Add(int64(n)) }

// Advance moves the clock and returns when every loop has fired what was due and has run what that
// woke. What other sockets then do to it is waited for by expecting it.
func (r *Reactor) Advance(d time.Duration) {
	r.t.Helper()
	r.clock.Add(int64(d))
	r.Wake()
	r.Settle()
}

// Settle returns when every loop has turned a few times: what was posted or woken before has run.
func (r *Reactor) Settle() {
	r.t.Helper()
	for range 3 {
		for i := range r.Len() {
			r.Do(i, func() {})
		}
	}
}

// Do runs f on a loop (not in a coroutine) and waits for it.
func (r *Reactor) Do(loop int, f func()) {
	r.t.Helper()
	done := make(chan struct{})
	if !r.Loop(loop).Post(func() { defer close(done); f() }) {
		r.t.Fatal("the loop has ended")
	}
	await(r.t, done, "the loop")
}

// Go runs f in a coroutine of a loop and returns when f has come to its first wait (so that an
// Advance that follows finds it waiting); the channel is closed when f has returned.
func (r *Reactor) Go(loop int, f func()) <-chan struct{} {
	r.t.Helper()
	done := make(chan struct{})
	l := r.Loop(loop)
	r.Do(loop, func() { l.Go(task(func() { defer close(done); f() })) })
	r.Settle()
	return done
}

// Run is Go and waits.
func (r *Reactor) Run(loop int, f func()) {
	r.t.Helper()
	await(r.t, r.Go(loop, f), "the coroutine")
}

// Pair returns a conn on loop 0 and the peer at its other end.
func (r *Reactor) Pair(t testing.TB) (*reactor.Conn, *Peer) {
	t.Helper()
	return r.PairOn(t, 0)
}

// PairOn is Pair on a loop of one's choice.
func (r *Reactor) PairOn(t testing.TB, loop int) (conn *reactor.Conn, peer *Peer) {
	t.Helper()
	s := Listen(t)
	peer = Dial(t, s.Addr())
	fd, from := s.acceptFD()
	r.Do(loop, func() {
		var err error
		if conn, err = r.Loop(loop).Adopt(fd, from); err != nil {
			t.Error(err)
		}
	})
	s.Close()
	return conn, peer
}

type task func()

// Run makes a function a reactor.Task.
func (f task) Run() { f() }

// Sockets opens plain sockets, whatever the workload: an upstream dialer for tests.
type Sockets struct{}

// Socket returns an unconnected, non-blocking TCP socket.
func (Sockets) Socket(_ uint32, ipv6 bool) (int, error) {
	family := unix.AF_INET
	if ipv6 {
		family = unix.AF_INET6
	}
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
}

// ListenFD returns a listening, non-blocking socket on 127.0.0.1, for reactor.Loop.Listen or
// proxy.Server.Serve, which then own it.
func ListenFD(t testing.TB) (fd int, at netip.AddrPort) {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return duplicate(t, l), l.Addr().(*net.TCPAddr).AddrPort()
}
