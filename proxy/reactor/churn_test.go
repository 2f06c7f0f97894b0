package reactor_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/reactor"
)

// TestChurn has many clients come, talk and leave in every way there is; nothing may be left.
func TestChurn(t *testing.T) {
	r := proxytest.Start(t, 2)
	at := echoServer(t, r.Group).String()
	var wait sync.WaitGroup
	for i := range 50 {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 3))
			for range 40 {
				c, err := net.Dial("tcp4", at)
				if err != nil {
					t.Error(err)
					return
				}
				visit(t, c.(*net.TCPConn), random)
			}
		})
	}
	wait.Wait()
	for deadline := time.Now().Add(10 * time.Second); ; {
		r.Settle()
		left := int64(0)
		for _, s := range r.Stats() {
			left += s.Conns + s.Coroutines
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("conns or coroutines are left: %+v", r.Stats())
		}
	}
}

// visit exchanges some messages and leaves in one of four ways.
func visit(t *testing.T, c *net.TCPConn, random *rand.Rand) {
	defer c.Close()
	buf := make([]byte, 6000) // more than the server's buffer: it answers in parts
	for range random.IntN(4) {
		message := buf[:1+random.IntN(len(buf))]
		if _, err := c.Write(message); err != nil {
			t.Error(err)
			return
		}
		if _, err := io.ReadFull(c, message); err != nil {
			t.Error(err)
			return
		}
	}
	switch random.IntN(4) {
	case 0:
		_ = c.SetLinger(0)
	case 1:
		_ = c.CloseWrite()
		if n, err := c.Read(buf); err != io.EOF {
			t.Errorf("behind the end: %d bytes, %v", n, err)
		}
	case 2: // answers that nobody reads
		_, _ = c.Write(buf)
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

// TestBulkDoesNotStopTheHeart: the heartbeat comes also within a turn in which many move much.
func TestBulkDoesNotStopTheHeart(t *testing.T) {
	const movers = 64
	var clock atomic.Int64
	ran, within := 0, 0 // owned by the loop
	g, err := reactor.New(reactor.Config{
		Loops: 1,
		Clock: func() int64 { return clock.Add(int64(time.Second)) },
		Tick: func(int, int64) {
			if ran > 0 && ran < movers {
				within++
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended, moved := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); _ = g.Run(ctx) }()
	l := g.Loop(0)
	l.Post(func() {
		for range movers {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
				continue
			}
			c, err := l.Adopt(fds[0], netip.AddrPort{})
			if err != nil {
				t.Error(err)
				continue
			}
			l.Go(taskFunc(func() {
				_, _ = c.Write(make([]byte, 128<<10)) // as much as fits at once
				if ran++; ran == movers {
					close(moved)
				}
				_, _ = c.Close(), unix.Close(fds[1])
			}))
		}
	})
	<-moved
	cancel()
	<-ended
	if within == 0 {
		t.Errorf("no beat while %d coroutines moved %d KiB each", movers, 128)
	}
}
