package reactor_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"golang.org/x/sys/unix"
)

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestConnect(t *testing.T) {
	r := proxytest.Start(t, 1)
	server := proxytest.Listen(t)
	refused := proxytest.Listen(t)
	refused.Close()
	dial := func(at netip.AddrPort) (c *reactor.Conn, err error) {
		r.Run(0, func() {
			fd, e := proxytest.Sockets{}.Socket(0, false)
			if e != nil {
				t.Error(e)
			}
			c, err = r.Loop(0).Connect(fd, at, time.Second)
		})
		return c, err
	}
	c, err := dial(server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	peer := server.Accept()
	r.Run(0, func() { _, _ = c.Write([]byte("hi")) })
	peer.Expect("hi")
	if got := peer.Conn().RemoteAddr().String(); got != c.LocalAddrPort().String() {
		t.Errorf("LocalAddrPort = %v, the peer sees %v", c.LocalAddrPort(), got)
	}
	r.Do(0, func() { _ = c.Close() })
	if _, err := dial(refused.Addr()); err != syscall.ECONNREFUSED {
		t.Errorf("refused: %v", err)
	}
}

// TestConnectTimeout connects to a listener whose backlog is full: its kernel drops the SYN.
func TestConnectTimeout(t *testing.T) {
	r := proxytest.Start(t, 1)
	fd, at := proxytest.ListenFD(t)
	defer unix.Close(fd)
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	proxytest.Dial(t, at)
	late := r.Go(0, func() {
		for range 3 { // one may still find room
			s, _ := proxytest.Sockets{}.Socket(0, false)
			c, err := r.Loop(0).Connect(s, at, time.Second)
			if err == os.ErrDeadlineExceeded {
				return
			}
			if err != nil {
				t.Errorf("got %v", err)
			}
			defer c.Close()
		}
		t.Error("the backlog is never full")
	})
	for range 50 {
		r.Advance(time.Second)
		if isDone(late) {
			return
		}
	}
	<-late
}

func TestListen(t *testing.T) {
	r := proxytest.Start(t, 1)
	fd, at := proxytest.ListenFD(t)
	var ln *reactor.Listener
	got := make(chan netip.AddrPort, 8)
	r.Do(0, func() {
		var err error
		ln, err = r.Loop(0).Listen(fd, func(fd int, peer netip.AddrPort) {
			if v, _ := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY); v == 0 {
				t.Error("TCP_NODELAY is off")
			}
			_ = unix.Close(fd)
			got <- peer
		})
		if err != nil {
			t.Error(err)
		}
	})
	for range 3 {
		p := proxytest.Dial(t, at)
		if from := <-got; from.String() != p.Conn().LocalAddr().String() {
			t.Errorf("peer is %v, want %v", from, p.Conn().LocalAddr())
		}
	}
	r.Do(0, func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	})
	if c, err := net.Dial("tcp", at.String()); err == nil {
		c.Close()
		t.Error("still listening")
	}
}

// TestListenOnTwoLoops: each accepts from a duplicate of one descriptor; closing one leaves the other.
func TestListenOnTwoLoops(t *testing.T) {
	r := proxytest.Start(t, 2)
	fd, at := proxytest.ListenFD(t)
	second, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan int, 100)
	var listeners [2]*reactor.Listener
	for i, fd := range []int{fd, second} {
		r.Do(i, func() {
			listeners[i], err = r.Loop(i).Listen(fd, func(fd int, _ netip.AddrPort) {
				_ = unix.Close(fd)
				got <- i
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range 10 {
		proxytest.Dial(t, at)
		<-got
	}
	r.Do(0, func() { _ = listeners[0].Close() })
	for range 10 {
		proxytest.Dial(t, at)
		if i := <-got; i != 1 {
			t.Fatal("accepted by the closed listener")
		}
	}
}

// TestOutOfDescriptors: accepting pauses, and goes on when there are descriptors again.
func TestOutOfDescriptors(t *testing.T) {
	r := proxytest.Start(t, 1)
	fd, at := proxytest.ListenFD(t)
	got := make(chan struct{}, 1)
	r.Do(0, func() {
		_, err := r.Loop(0).Listen(fd, func(fd int, _ netip.AddrPort) {
			_ = unix.Close(fd)
			got <- struct{}{}
		})
		if err != nil {
			t.Error(err)
		}
	})
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(client)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	to := &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}
	err = unix.Connect(client, to)
	for i := 0; i < 100_000 && r.Stats()[0].AcceptErrors == 0; i++ {
		r.Settle()
	}
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	if errs := r.Stats()[0].AcceptErrors; err != nil || errs != 1 {
		t.Errorf("%v; %d accept errors, want 1 and then a pause", err, errs)
	}
	r.Advance(10 * time.Millisecond)
	<-got
}

type taskFunc func()

func (f taskFunc) Run() { f() }

func TestPanicEndsItsConnOnly(t *testing.T) {
	ends := map[string]struct {
		end    func()
		panics int
	}{
		"panic":  {func() { panic("at the disco") }, 1},
		"goexit": {runtime.Goexit, 1},
	}
	for name, c := range ends {
		t.Run(name, func(t *testing.T) {
			r := proxytest.Start(t, 1)
			r.AllowPanics(c.panics)
			bad, badPeer := r.Pair(t)
			good, goodPeer := r.Pair(t)
			echo := r.Go(0, func() {
				buf := make([]byte, 8)
				for {
					n, err := good.Read(buf)
					if err != nil {
						_ = good.Close()
						return
					}
					_, _ = good.Write(buf[:n])
				}
			})
			badPeer.Send("x")
			r.Go(0, func() {
				_, _ = bad.Read(make([]byte, 8))
				c.end()
			})
			badPeer.ExpectReset()
			goodPeer.Send("alive")
			goodPeer.Expect("alive")
			if s := r.Stats()[0]; s.Panics != 1 || s.Conns != 1 || s.Coroutines != 1 {
				t.Errorf("stats: %+v", s)
			}
			goodPeer.Close()
			<-echo
		})
	}
}

func TestPanicInHandler(t *testing.T) {
	r := proxytest.Start(t, 1)
	r.AllowPanics(2)
	conn, peer := r.Pair(t)
	r.Do(0, func() { conn.Park(readyFunc(func(*reactor.Conn) { panic("handler") })) })
	peer.Send("x")
	peer.ExpectReset()
	r.Loop(0).Post(func() { panic("post") })
	r.Settle()
	if s := r.Stats()[0]; s.Panics != 2 || s.Conns != 0 {
		t.Errorf("stats: %+v", s)
	}
}

func TestSignal(t *testing.T) {
	r := proxytest.Start(t, 1)
	l := r.Loop(0)
	var s reactor.Signal
	var got []bool
	done := r.Go(0, func() {
		got = append(got, s.Wait(l), s.WaitUntil(l, l.Now()+int64(time.Second)))
	})
	go l.Post(s.Set)
	for !isDone(done) {
		r.Advance(time.Second)
	}
	if len(got) != 2 || !got[0] || got[1] {
		t.Errorf("waits: %v, want true (set), false (late)", got)
	}
}

// TestEnd: when the group ends, every kind of wait ends, and all that is open is closed.
func TestEnd(t *testing.T) {
	var clock int64 = 1
	g, err := reactor.New(reactor.Config{Loops: 2, Clock: func() int64 { return clock }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }()
	fd, at := proxytest.ListenFD(t)
	l := g.Loop(0)
	outcome := make(chan error, 8)
	parked := make(chan struct{})
	accepted := func(fd int, peer netip.AddrPort) {
		c, err := l.Adopt(fd, peer)
		if err != nil {
			t.Error(err)
		}
		l.Go(taskFunc(func() {
			defer c.Close()
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
			c.Park(readyFunc(func(c *reactor.Conn) {
				_, err := c.Read(make([]byte, 1))
				outcome <- err
				_ = c.Close()
			}))
			close(parked)
			_, err := c.Write(make([]byte, bulk)) // nobody reads
			outcome <- err
		}))
	}
	l.Post(func() {
		if _, err := l.Listen(fd, accepted); err != nil {
			t.Error(err)
		}
		l.Go(taskFunc(func() { l.Sleep(time.Hour); outcome <- nil }))
		l.Go(taskFunc(func() {
			if s := new(reactor.Signal); s.Wait(l) {
				t.Error("nobody set it")
			}
			outcome <- nil
		}))
		l.Go(taskFunc(func() {
			for { // does not want to end
				l.Yield()
			}
		}))
	})
	p := proxytest.Dial(t, at)
	p.Send("x")
	<-parked
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	close(outcome)
	closed := 0
	for err := range outcome {
		if err == net.ErrClosed {
			closed++
		}
	}
	if closed != 2 || len(outcome) != 0 {
		t.Errorf("%d ends by net.ErrClosed, want 2", closed)
	}
	if l.Post(func() {}) {
		t.Error("Post to an ended loop")
	}
}

// TestCoroutinesAreGivenBack: a burst's coroutines are kept for a while, then ended.
func TestCoroutinesAreGivenBack(t *testing.T) {
	r := proxytest.Start(t, 1)
	l := r.Loop(0)
	r.Do(0, func() {
		for range 500 {
			l.Go(taskFunc(func() { l.Sleep(time.Millisecond) }))
		}
	})
	r.Advance(time.Second)
	if s := r.Stats()[0]; s.Coroutines != 0 || s.IdleCoroutines != 500 {
		t.Errorf("after the burst: %+v", s)
	}
	r.Advance(time.Second)
	r.Advance(time.Second)
	if s := r.Stats()[0]; s.IdleCoroutines > 16 {
		t.Errorf("later: %+v", s)
	}
}

func TestTickBeats(t *testing.T) {
	beat := make(chan int, 64)
	g, err := reactor.New(reactor.Config{Loops: 1, Tick: func(loop int, _ int64) { beat <- loop }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = g.Run(ctx) }()
	began := time.Now()
	for range 5 {
		<-beat
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("5 beats took %v", d)
	}
	cancel()
	<-ended
}
