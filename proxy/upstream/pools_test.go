package upstream_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/proxytest"
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

// Endpoints come and go under load: every attempt finds one that works, and in
// the end every connection is accounted for.
func TestChurn(t *testing.T) {
	var at []netip.AddrPort
	for range 3 {
		at = append(at, proxytest.Listen(t).Addr())
	}
	w := newWorld(t, 2, none, at...)
	backend := w.backend()
	var done [2]<-chan struct{}
	met := [2]map[*upstream.Endpoint]bool{{}, {}}
	for loop := range done {
		done[loop] = w.Go(loop, func() {
			for i := range 600 {
				l, reason := backend.Acquire(w.pools[loop], nil)
				if reason != telemetry.None {
					t.Errorf("no lease: %s", reason)
					return
				}
				met[loop][l.Endpoint()] = true
				c, _, err := l.Conn(uint32(i%3), i%10 == 0)
				if err != nil {
					t.Error(err)
					l.Done(upstream.ConnectFailed)
					continue
				}
				w.Loop(loop).Yield()
				if i%7 == 0 {
					l.Drop(c)
				} else {
					l.Keep(c)
				}
				l.Done(upstream.OK)
			}
		})
	}
	for i := range 200 {
		w.apply(at[i%3], at[(i+i/3)%3])
		w.Settle()
	}
	for _, d := range done {
		<-d
	}
	w.apply()
	w.Settle()
	for _, s := range w.registry.PoolStats() {
		if s.Idle != 0 || s.Reused == 0 {
			t.Errorf("%+v", s)
		}
	}
	for loop := range met {
		for e := range met[loop] {
			if e.Connections() != 0 || e.InFlight() != 0 {
				t.Errorf("%s has %d connections, %d in flight", e.Addr(), e.Connections(), e.InFlight())
			}
		}
	}
	if backend.Live() != 0 {
		t.Errorf("%d live", backend.Live())
	}
}
