package reactor_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }

// bulk is more than any socket buffer takes.
const bulk = 32 << 20

func TestBulkBothWays(t *testing.T) {
	r := proxytest.Start(t, 1)
	conn, peer := r.Pair(t)
	sum := make(chan int, 1)
	wrote := r.Go(0, func() {
		block := bytes.Repeat([]byte("w"), 100_000)
		for left := bulk; left > 0; {
			n := min(left, len(block))
			if _, err := conn.Writev([][]byte{block[:n/3], nil, block[n/3 : n]}); err != nil {
				t.Error(err)
				return
			}
			left -= n
		}
		if err := conn.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	r.Go(0, func() { // the other direction at the same time, on the same conn
		buf, total := make([]byte, 50_000), 0
		for {
			n, err := conn.Read(buf)
			total += n
			if err != nil {
				sum <- total
				return
			}
		}
	})
	go func() {
		_, _ = io.CopyN(peer.Conn(), zeros{}, bulk)
		peer.CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, peer.Conn()); n != bulk || err != nil {
		t.Errorf("the peer read %d bytes, %v", n, err)
	}
	if n := <-sum; n != bulk {
		t.Errorf("the conn read %d bytes", n)
	}
	<-wrote
	r.Do(0, func() { _ = conn.Close() })
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestErrors(t *testing.T) {
	buf := make([]byte, 10)
	cases := map[string]struct {
		peer func(p *proxytest.Peer)
		conn func(c *reactor.Conn) error
		want error
	}{
		"end":          {(*proxytest.Peer).Close, func(c *reactor.Conn) error { _, err := c.Read(buf); return err }, io.EOF},
		"end, twice":   {(*proxytest.Peer).Close, func(c *reactor.Conn) error { c.Read(buf); _, err := c.Read(buf); return err }, io.EOF},
		"reset":        {(*proxytest.Peer).Reset, func(c *reactor.Conn) error { _, err := c.Read(buf); return err }, syscall.ECONNRESET},
		"closed":       {nil, func(c *reactor.Conn) error { c.Close(); _, err := c.Read(buf); return err }, net.ErrClosed},
		"write closed": {nil, func(c *reactor.Conn) error { c.Close(); _, err := c.Write(buf); return err }, net.ErrClosed},
		"close twice":  {nil, func(c *reactor.Conn) error { c.Close(); return c.Close() }, net.ErrClosed},
		"late":         {nil, func(c *reactor.Conn) error { c.ReadBy(c.Loop().Now()); _, err := c.Read(buf); return err }, os.ErrDeadlineExceeded},
		"late, time": {nil, func(c *reactor.Conn) error {
			c.SetDeadline(time.Now().Add(-time.Second))
			_, err := c.Write(buf)
			return err
		}, os.ErrDeadlineExceeded},
		"nothing there": {nil, func(c *reactor.Conn) error { _, err := c.TryRead(buf); return err }, syscall.EAGAIN},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := proxytest.Start(t, 1)
			conn, peer := r.Pair(t)
			if c.peer != nil {
				c.peer(peer)
			}
			r.Run(0, func() {
				if err := c.conn(conn); err != c.want {
					t.Errorf("got %v, want %v", err, c.want)
				}
				_ = conn.Close()
			})
		})
	}
}

// TestBytesBeforeTheEnd: the end is seen in the same event as the bytes before it, and is no edge
// of its own after that.
func TestBytesBeforeTheEnd(t *testing.T) {
	r := proxytest.Start(t, 1)
	conn, peer := r.Pair(t)
	peer.Send("last words")
	peer.Close()
	r.Settle()
	r.Run(0, func() {
		all, err := io.ReadAll(conn)
		if string(all) != "last words" || err != nil {
			t.Errorf("got %q, %v", all, err)
		}
		_ = conn.Close()
	})
}

func TestDeadlines(t *testing.T) {
	r := proxytest.Start(t, 1)
	conn, peer := r.Pair(t)
	var readErr error
	read := r.Go(0, func() {
		conn.ReadBy(conn.Loop().Now() + int64(time.Second))
		conn.ReadBy(conn.Loop().Now() + int64(3*time.Second)) // moved on: the timer stays, and comes too early
		_, readErr = conn.Read(make([]byte, 1))
	})
	r.Advance(2 * time.Second)
	if isDone(read) {
		t.Fatal("the earlier deadline held")
	}
	r.Advance(time.Second)
	<-read
	if readErr != os.ErrDeadlineExceeded {
		t.Errorf("read: %v", readErr)
	}
	full := r.Go(0, func() {
		conn.WriteBy(conn.Loop().Now() + int64(time.Second))
		n, err := conn.Write(make([]byte, bulk))
		if n == 0 || n == bulk || err != os.ErrDeadlineExceeded {
			t.Errorf("write: %d, %v", n, err)
		}
	})
	r.Advance(time.Second)
	<-full
	waiting := r.Go(0, func() { conn.ReadBy(0); _, readErr = conn.Read(make([]byte, 1)) })
	r.Do(0, func() { conn.ReadBy(1) }) // from elsewhere on the loop
	<-waiting
	if readErr != os.ErrDeadlineExceeded {
		t.Errorf("read: %v", readErr)
	}
	r.Do(0, func() { conn.Abort() })
	_ = peer
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

type readyFunc func(c *reactor.Conn)

func (f readyFunc) Ready(c *reactor.Conn) { f(c) }

func TestPark(t *testing.T) {
	r := proxytest.Start(t, 1)
	conn, peer := r.Pair(t)
	ready := make(chan error, 1)
	handler := readyFunc(func(c *reactor.Conn) {
		_, err := c.Read(make([]byte, 5))
		ready <- err
	})
	park := func() { conn.Park(handler) }
	r.Do(0, park)
	peer.Send("bytes")
	if err := <-ready; err != nil {
		t.Error(err)
	}
	// That read filled its buffer: parked again it is not taken for readable.
	r.Do(0, func() {
		park()
		if !conn.Unpark() {
			t.Error("an idle conn is stale")
		}
		if conn.Unpark() {
			t.Error("unparked twice")
		}
		conn.ReadBy(conn.Loop().Now() + int64(time.Minute))
		park()
	})
	r.Advance(time.Minute)
	if err := <-ready; err != os.ErrDeadlineExceeded {
		t.Errorf("at the deadline: %v", err)
	}
	r.Do(0, func() { conn.ReadBy(0); park() })
	peer.Close()
	if err := <-ready; err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	r.Do(0, func() {
		park()
		if conn.Unpark() {
			t.Error("a conn at its end is not stale")
		}
	})
	if err := <-ready; err != io.EOF {
		t.Errorf("parked at the end: %v", err)
	}
	r.Do(0, func() { _ = conn.Close() })
}

func TestOnReset(t *testing.T) {
	r := proxytest.Start(t, 1)
	conn, peer := r.Pair(t)
	reset := make(chan struct{})
	r.Do(0, func() { conn.OnReset(func() { close(reset) }) })
	peer.Reset()
	<-reset
	r.Do(0, func() { _ = conn.Close() })
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

// TestIdleConnIsSmall: what a parked conn costs beside its slot, and its owner's own state.
func TestIdleConnIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(reactor.Conn{}); size > 400 {
		t.Errorf("a Conn has %d bytes", size)
	}
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

// TestBulkDoesNotStarve: a coroutine that always finds bytes lets others run in between.
func TestBulkDoesNotStarve(t *testing.T) {
	r := proxytest.Start(t, 1)
	conn, peer := r.Pair(t)
	peer.Send(strings.Repeat("x", 200_000))
	r.Settle()
	turns, reads := 0, 0
	r.Run(0, func() {
		over := false
		r.Loop(0).Go(taskFunc(func() {
			for !over {
				turns++
				r.Loop(0).Yield()
			}
		}))
		var one [1]byte
		for reads = 0; reads < 10_000; reads++ {
			if _, err := conn.Read(one[:]); err != nil {
				t.Error(err)
				break
			}
		}
		over = true
		_ = conn.Close()
	})
	if turns < 100 {
		t.Errorf("%d reads, and others had %d turns", reads, turns)
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
