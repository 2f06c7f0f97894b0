package reactor_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/reactor"
)

// echo answers each message in a coroutine of its own and parks in between: the life of a
// keep-alive connection.
type echo struct {
	conn   *reactor.Conn
	buf    []byte
	halves [2][]byte
}

func (e *echo) Ready(c *reactor.Conn) { c.Loop().Go(e) }

func (e *echo) Run() {
	n, err := e.conn.Read(e.buf)
	if err != nil {
		_ = e.conn.Close()
		return
	}
	e.halves[0], e.halves[1] = e.buf[:n/2], e.buf[n/2:n]
	if _, err := e.conn.Writev(e.halves[:]); err != nil {
		_ = e.conn.Close()
		return
	}
	e.conn.ReadBy(e.conn.Loop().Now() + 1e9)
	e.conn.Park(e)
}

// echoServer accepts on one loop and spreads the conns over all.
func echoServer(t testing.TB, g *reactor.Group) netip.AddrPort {
	fd, at := proxytest.ListenFD(t)
	accepted := 0
	g.Loop(0).Post(func() {
		_, err := g.Loop(0).Listen(fd, func(fd int, peer netip.AddrPort) {
			l := g.Loop(accepted % g.Len())
			accepted++
			l.Post(func() {
				if c, err := l.Adopt(fd, peer); err == nil {
					c.Park(&echo{conn: c, buf: make([]byte, 4096)})
				}
			})
		})
		if err != nil {
			t.Error(err)
		}
	})
	return at
}

// netEcho is the same with a goroutine per connection.
func netEcho(t testing.TB) netip.AddrPort {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 4096)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if _, err := c.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// roundTrips sends messages over a number of connections, one outstanding on each.
func roundTrips(b *testing.B, at netip.AddrPort, conns int) {
	b.ReportAllocs()
	left := make(chan struct{}, conns)
	share := b.N/conns + 1
	b.ResetTimer()
	for range conns {
		go func() {
			defer func() { left <- struct{}{} }()
			c, err := net.Dial("tcp4", at.String())
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			buf := make([]byte, 64)
			for range share {
				if _, err := c.Write(buf); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	for range conns {
		<-left
	}
}

func BenchmarkEcho(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	b.Run("reactor", func(b *testing.B) {
		g, err := reactor.New(reactor.Config{Loops: 2})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = g.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		roundTrips(b, echoServer(b, g), 64)
	})
	b.Run("net", func(b *testing.B) { roundTrips(b, netEcho(b), 64) })
}

// TestEchoDoesNotAllocate counts what a round trip costs in memory: reading, a vectored write, a
// deadline, parking and a coroutine.
func TestEchoDoesNotAllocate(t *testing.T) {
	r := proxytest.Start(t, 1)
	c, err := net.Dial("tcp4", echoServer(t, r.Group).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 64)
	trip := func() {
		if _, err := c.Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			t.Fatal(err)
		}
	}
	trip()
	if n := testing.AllocsPerRun(2000, trip); n != 0 {
		t.Errorf("%v allocations per round trip", n)
	}
}
