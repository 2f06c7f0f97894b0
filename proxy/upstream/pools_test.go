package upstream_test

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// await turns the loops until the pools' numbers are as wanted.
func (w *world) await(what string, ok func(upstream.PoolStats) bool) {
	w.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(w.stats()); w.Settle() {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: %+v", what, w.stats())
		}
	}
}

func idle(n uint64) func(upstream.PoolStats) bool {
	return func(s upstream.PoolStats) bool { return s.Idle == n }
}

func TestReuse(t *testing.T) {
	server := proxytest.Listen(t)
	w := newWorld(t, 1, none, server.Addr())
	if w.exchange(0, 7) {
		t.Fatal("the first connection was reused")
	}
	for range 3 {
		if !w.exchange(0, 7) {
			t.Fatal("the idle connection was not reused")
		}
	}
	e := w.endpoint(server.Addr())
	if s := w.stats(); s.Idle != 1 || s.Opened != 1 || s.Reused != 3 || e.Connections != 1 || e.Connects != 1 || e.InFlight != 0 {
		t.Fatalf("%+v %+v", s, e)
	}
}

// Two workloads never share a connection, nor do two loops.
func TestIdentitiesAreApart(t *testing.T) {
	server := proxytest.Listen(t)
	w := newWorld(t, 2, none, server.Addr())
	w.exchange(0, 7)
	if w.exchange(0, 8) || w.exchange(1, 7) {
		t.Fatal("a connection was shared")
	}
	if !w.exchange(0, 7) || !w.exchange(0, 8) || !w.exchange(1, 7) {
		t.Fatal("a connection was lost")
	}
}

func TestServerClosesOrSpeaks(t *testing.T) {
	for name, speak := range map[string]func(*proxytest.Peer){
		"closes": (*proxytest.Peer).Close,
		"resets": (*proxytest.Peer).Reset,
		"speaks": func(p *proxytest.Peer) { p.Send("HTTP/1.1 408 Request Timeout\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			server := proxytest.Listen(t)
			w := newWorld(t, 1, none, server.Addr())
			w.exchange(0, 7)
			speak(server.Accept())
			w.await("the connection is dropped", idle(0))
			if s := w.stats(); s.PeerClosed != 1 || w.endpoint(server.Addr()).Connections != 0 {
				t.Fatalf("%+v", s)
			}
			if w.exchange(0, 7) {
				t.Fatal("a dead connection was reused")
			}
		})
	}
}

func TestIdleTimeout(t *testing.T) {
	server := proxytest.Listen(t)
	w := newWorld(t, 1, none, server.Addr())
	w.exchange(0, 7)
	w.Advance(3900 * time.Millisecond)
	if !w.exchange(0, 7) {
		t.Fatal("closed too early")
	}
	w.Advance(3900 * time.Millisecond)
	w.await("kept since the last use", idle(1))
	w.Advance(200 * time.Millisecond)
	w.await("expired", idle(0))
	if s := w.stats(); s.Expired != 1 {
		t.Fatalf("%+v", s)
	}
	server.Accept().ExpectEOF()
}

func TestBounds(t *testing.T) {
	server := proxytest.Listen(t)
	w := newWorld(t, 1, upstream.PoolConfig{PerKey: 3, PerLoop: 5}, server.Addr())
	w.connect(0, 6, 7)()
	if s := w.stats(); s.Idle != 3 || s.Evicted != 3 {
		t.Fatalf("per key: %+v", s)
	}
	w.connect(0, 3, 8)()
	if s := w.stats(); s.Idle != 5 || s.Evicted != 4 || w.endpoint(server.Addr()).Connections != 5 {
		t.Fatalf("per loop: %+v", s)
	}
	// The oldest of the first workload made room.
	give := w.connect(0, 0, 7)
	give()
	reused := 0
	for range 2 {
		if w.exchange(0, 7) {
			reused++
		}
	}
	if reused != 2 {
		t.Fatalf("%d reused", reused)
	}
}

func TestRemovedEndpointDrains(t *testing.T) {
	server, other := proxytest.Listen(t), proxytest.Listen(t)
	w := newWorld(t, 2, none, server.Addr())
	for loop := range 2 {
		w.exchange(loop, 7)
	}
	inFlight := w.connect(0, 2, 7)
	w.apply(other.Addr())
	w.await("idle connections are closed", idle(0))
	for range 2 {
		server.Accept().ExpectEOF()
	}
	stay := server.Accept()
	stay.Conn().SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	var timeout net.Error
	if _, err := stay.Conn().Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("a connection in flight: %v", err)
	}
	inFlight()
	stay.ExpectEOF() // not kept when it comes back
	if s := w.stats(); s.Idle != 0 {
		t.Fatalf("%+v", s)
	}
	// Back again it is another endpoint: nothing of it is left.
	w.apply(server.Addr())
	if w.exchange(0, 7) || w.endpoint(server.Addr()).Connects != 1 {
		t.Fatal("an endpoint came back with a past")
	}
}

func TestForget(t *testing.T) {
	server := proxytest.Listen(t)
	w := newWorld(t, 1, none, server.Addr())
	w.exchange(0, 7)
	w.exchange(0, 8)
	out := w.connect(0, 1, 7)
	w.registry.Forget(7)
	w.await("one is closed", idle(1))
	out()
	if s := w.stats(); s.Idle != 1 {
		t.Fatalf("a forgotten workload's connection was kept: %+v", s)
	}
	if !w.exchange(0, 8) {
		t.Fatal("another workload's connection was closed")
	}
}

// Pools that nobody uses are forgotten, and a lease that holds one of them
// closes what it has.
func TestSweep(t *testing.T) {
	server := proxytest.Listen(t)
	w := newWorld(t, 1, none, server.Addr())
	w.exchange(0, 7)
	out := w.connect(0, 1, 8)
	for range 4 {
		w.Advance(31 * time.Second)
	}
	w.await("all is closed", idle(0))
	out()
	if s := w.stats(); s.Idle != 0 || w.endpoint(server.Addr()).Connections != 0 {
		t.Fatalf("%+v", s)
	}
	if w.exchange(0, 7) || !w.exchange(0, 7) {
		t.Fatal("a new pool does not work")
	}
}

func TestConnectFaults(t *testing.T) {
	closed := proxytest.Listen(t)
	closed.Close()
	full := fullServer(t)
	for name, c := range map[string]struct {
		at      netip.AddrPort
		outcome upstream.Outcome
		reason  telemetry.Reason
	}{
		"refused": {closed.Addr(), upstream.ConnectFailed, telemetry.ConnectFailed},
		"silent":  {full, upstream.ConnectFailed, telemetry.ConnectTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, none, c.at)
			done := w.Go(0, func() {
				l, _ := w.backend().Acquire(w.pools[0], nil)
				_, _, err := l.Conn(7, false)
				outcome, reason := upstream.ConnectFault(err)
				if outcome != c.outcome || reason != c.reason {
					t.Errorf("%v: %v, %s", err, outcome, reason)
				}
				l.Done(outcome)
			})
			w.Settle()
			w.Advance(table.DefaultConnectTimeout + time.Millisecond)
			<-done
			if e := w.endpoint(c.at); e.Connections != 0 || e.Failures != 1 || e.InFlight != 0 {
				t.Errorf("%+v", e)
			}
		})
	}
}

// fullServer is an address that answers no connect: its queue is full.
func fullServer(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = unix.Listen(fd, 0)
	}
	name, nameErr := unix.Getsockname(fd)
	if err = errors.Join(err, nameErr); err != nil {
		t.Fatal(err)
	}
	for range 3 { // backlog 0 holds one, or two: the rest is never answered
		c, err := proxytest.Sockets{}.Socket(0, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(c) })
		if err := unix.Connect(c, name); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port))
}

func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 on loopback: %v", err)
	}
	defer l.Close()
	w := newWorld(t, 1, none, l.Addr().(*net.TCPAddr).AddrPort())
	if w.exchange(0, 7) || !w.exchange(0, 7) {
		t.Fatal("no connection was kept")
	}
}

type noSocket struct{}

func (noSocket) Socket(uint32, bool) (int, error) { return -1, syscall.EMFILE }

// What is wrong on our side is not held against the endpoint.
func TestLocalFault(t *testing.T) {
	w := newWorld(t, 1, none, address(1))
	r := upstream.NewRegistry(upstream.Config{Loops: 1, Dialer: noSocket{}})
	p := r.NewPools(w.Loop(0))
	backend := r.Apply(w.snapshot).Backend(w.snapshot.Backends[0])
	w.Run(0, func() {
		for range 10 {
			l, _ := backend.Acquire(p, nil)
			_, _, err := l.Conn(7, false)
			outcome, reason := upstream.ConnectFault(err)
			if outcome != upstream.Cancelled || reason != telemetry.SocketFailed {
				t.Errorf("%v: %v, %s", err, outcome, reason)
			}
			l.Done(outcome)
		}
	})
	if e := r.Dump()[0].List[0]; e.Health != "closed" || e.Failures != 0 {
		t.Errorf("%+v", e)
	}
}

func TestSocketOptions(t *testing.T) {
	server := proxytest.Listen(t)
	w := newWorld(t, 1, none, server.Addr())
	w.Run(0, func() {
		l, _ := w.backend().Acquire(w.pools[0], nil)
		defer l.Done(upstream.OK)
		c, _, err := l.Conn(7, false)
		if err != nil {
			t.Error(err)
			return
		}
		defer l.Drop(c)
		for _, o := range []struct{ level, name, want int }{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 20_000},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 10},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 5},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.SOL_SOCKET, unix.SO_PROTOCOL, unix.IPPROTO_TCP},
		} {
			if got, err := unix.GetsockoptInt(c.RawFD(), o.level, o.name); err != nil || got != o.want {
				t.Errorf("option %d is %d, not %d (%v)", o.name, got, o.want, err)
			}
		}
	})
}

// cycle is what a request does here, from Acquire to Done.
func (w *world) cycle() {
	var tried upstream.Tried
	l, _ := w.backend().Acquire(w.pools[0], &tried)
	c, _, _ := l.Conn(7, false)
	l.Keep(c)
	l.Done(upstream.OK)
}

func TestAttemptAllocatesNothing(t *testing.T) {
	var servers []netip.AddrPort
	for range 3 {
		servers = append(servers, proxytest.Listen(t).Addr())
	}
	w := newWorld(t, 1, none, servers...)
	w.Run(0, func() {
		for range 10 {
			w.cycle()
		}
		if n := testing.AllocsPerRun(200, w.cycle); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
	w.fail(servers[0], 3)
	w.Run(0, func() {
		if n := testing.AllocsPerRun(200, w.cycle); n != 0 {
			t.Errorf("with an ejected endpoint: %v allocations", n)
		}
	})
}

// The live side of a large cluster stays small.
func TestMemory(t *testing.T) {
	var in table.Input
	for i := range 5000 {
		b := table.BackendInput{Name: string(rune('a'+i%26)) + "/" + address(i).String()}
		for j := range 10 {
			b.Endpoints = append(b.Endpoints, table.EndpointInput{Addr: address(i*10 + j), Ready: true})
		}
		in.Backends = append(in.Backends, b)
	}
	s, err := table.Build(in)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := upstream.NewRegistry(upstream.Config{Loops: 8})
	start := time.Now()
	r.Apply(s)
	first := time.Since(start)
	start = time.Now()
	r.Apply(s)
	again := time.Since(start)
	runtime.GC()
	runtime.ReadMemStats(&after)
	bytes := after.HeapAlloc - before.HeapAlloc
	t.Logf("50,000 endpoints, 5,000 backends, 8 loops: %d KiB; applied in %s, without a change %s", bytes>>10, first, again)
	if bytes > 32<<20 {
		t.Errorf("%d bytes", bytes)
	}
	runtime.KeepAlive(r)
	runtime.KeepAlive(in)
}

func BenchmarkAttempt(b *testing.B) {
	w := newWorld(b, 1, none, proxytest.Listen(b).Addr())
	b.ReportAllocs()
	w.Run(0, func() {
		w.cycle()
		b.ResetTimer()
		for range b.N {
			w.cycle()
		}
	})
}

// Two loops share the endpoints' counters and nothing else.
func BenchmarkAcquireDoneOnTwoLoops(b *testing.B) {
	w := newWorld(b, 2, none, address(1), address(2), address(3))
	b.ReportAllocs()
	var done [2]<-chan struct{}
	for loop := range done {
		done[loop] = w.Go(loop, func() {
			for range b.N {
				l, _ := w.backend().Acquire(w.pools[loop], nil)
				l.Done(upstream.OK)
			}
		})
	}
	for _, d := range done {
		<-d
	}
}

func BenchmarkAcquireDone(b *testing.B) {
	for name, n := range map[string]int{"3": 3, "1000": 1000} {
		var endpoints []netip.AddrPort
		for i := range n {
			endpoints = append(endpoints, address(i))
		}
		w := newWorld(b, 1, none, endpoints...)
		run := func(b *testing.B) {
			b.ReportAllocs()
			w.Run(0, func() {
				b.ResetTimer()
				for range b.N {
					l, _ := w.backend().Acquire(w.pools[0], nil)
					l.Done(upstream.OK)
				}
			})
		}
		b.Run(name, run)
		w.fail(endpoints[0], 3)
		b.Run(name+"/one ejected", run)
	}
}
