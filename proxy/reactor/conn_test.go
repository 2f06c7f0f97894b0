package reactor_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/reactor"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(loadEnv); what != "" {
		if err := load(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(proxytest.Main(m))
}

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

// TestSplice: bytes go through the kernel; nothing there, the end and a full far side are told apart.
func TestSplice(t *testing.T) {
	r := proxytest.Start(t, 1)
	from, sender := r.Pair(t)
	to, receiver := r.Pair(t)
	go func() {
		_, _ = io.CopyN(sender.Conn(), zeros{}, bulk)
		sender.CloseWrite()
	}()
	sum := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(io.Discard, receiver.Conn())
		sum <- n
	}()
	r.Run(0, func() {
		s := r.Loop(0).TakeSplice()
		defer s.Release()
		for {
			_, err := s.Fill(from)
			if err == io.EOF {
				break
			}
			if err == syscall.EAGAIN {
				r.Loop(0).Yield()
				continue
			}
			if _, derr := s.Drain(to); err != nil || derr != nil {
				t.Error(err, derr)
				break
			}
		}
		_, _ = from.Close(), to.Close()
	})
	if n := <-sum; n != bulk {
		t.Errorf("%d bytes arrived", n)
	}
}

// TestSplicesAreBounded: receivers that take nothing do not use up descriptors and the kernel's memory.
func TestSplicesAreBounded(t *testing.T) {
	r := proxytest.Start(t, 1)
	r.Run(0, func() {
		var taken []*reactor.Splice
		for s := r.Loop(0).TakeSplice(); s != nil; s = r.Loop(0).TakeSplice() {
			if taken = append(taken, s); len(taken) > 1000 {
				t.Error("no bound")
				break
			}
		}
		taken[0].Release()
		again := r.Loop(0).TakeSplice()
		if again == nil {
			t.Error("one was given back and is not to be had")
		} else {
			taken[0] = again
		}
		for _, s := range taken {
			s.Release()
		}
	})
}

// TestIdleConnIsSmall: what a parked conn costs beside its slot, and its owner's own state.
func TestIdleConnIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(reactor.Conn{}); size > 400 {
		t.Errorf("a Conn has %d bytes", size)
	}
}
