package reactor_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
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

// load is what the test binary does instead of testing when loadEnv says "address conns messages":
// clients in the server's own process would share its scheduler and measure that.
const loadEnv = "REACTOR_BENCHMARK_LOAD"

func load(what string) error {
	var at string
	var conns, messages int
	if _, err := fmt.Sscan(what, &at, &conns, &messages); err != nil {
		return err
	}
	left := make(chan error, conns)
	for range conns {
		go func() { left <- roundTrips(at, messages/conns+1) }()
	}
	var first error
	for range conns {
		first = cmp.Or(first, <-left)
	}
	return first
}

func roundTrips(at string, n int) error {
	c, err := net.Dial("tcp4", at)
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, 64)
	for range n {
		if _, err := c.Write(buf); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			return err
		}
	}
	return nil
}

// measure has another process send b.N messages, and reports this one's CPU time per message.
func measure(b *testing.B, at netip.AddrPort) {
	b.ReportAllocs()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s 64 %d", loadEnv, at, b.N))
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	b.ResetTimer()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
}

// BenchmarkEcho sets the reactor beside a goroutine per connection, at 64 connections. With
// -count the two alternate.
func BenchmarkEcho(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 1))
	b.Run("reactor", func(b *testing.B) {
		g, err := reactor.New(reactor.Config{})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = g.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		measure(b, echoServer(b, g))
	})
	b.Run("net", func(b *testing.B) { measure(b, netEcho(b)) })
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
