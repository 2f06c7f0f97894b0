package proxy_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy"
	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/table"
)

const get = "GET / HTTP/1.1\r\nHost: cart\r\n\r\n"

func TestDetect(t *testing.T) {
	t.Run("client speaks HTTP", func(t *testing.T) {
		w := newWorld(t, 1)
		endpoint := proxytest.Listen(t)
		w.publish(table.Detect, endpoint.Addr())
		client := w.dial()
		client.Send("GE")
		w.reactor.Settle()
		client.Send(get[2:])
		server := endpoint.Accept()
		server.Expect(get)
		server.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		client.Expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		w.eventually(`proxy_connections_open{protocol="http1",service="shop/cart:80",source="shop/web-0"} 1`)
	})
	t.Run("client speaks late", func(t *testing.T) {
		w := newWorld(t, 1)
		endpoint := proxytest.Listen(t)
		w.publish(table.Detect, endpoint.Addr())
		client := w.dial()
		w.reactor.Settle()
		w.reactor.Advance(5 * time.Millisecond)
		server := endpoint.Accept() // dialled meanwhile
		client.Send(get)
		server.Expect(get) // and not in vain
		server.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		client.Expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	t.Run("client speaks something else", func(t *testing.T) {
		w := newWorld(t, 1)
		endpoint := proxytest.Listen(t)
		w.publish(table.Detect, endpoint.Addr())
		client := w.dial()
		client.Send("*1\r\n$4\r\nPING\r\n")
		server := endpoint.Accept()
		server.Expect("*1\r\n$4\r\nPING\r\n")
		server.Send("+PONG\r\n")
		client.Expect("+PONG\r\n")
		client.CloseWrite()
		server.ExpectEOF()
		server.Close()
		client.ExpectEOF()
		w.eventually(`proxy_bytes_total{direction="in",service="shop/cart:80",source="shop/web-0"} 14`)
		w.eventually(`proxy_connections_open{protocol="tcp",service="shop/cart:80",source="shop/web-0"} 0`)
	})
	t.Run("client of a forward proxy", func(t *testing.T) {
		for _, request := range []string{"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"} {
			w := newWorld(t, 1)
			endpoint := proxytest.Listen(t)
			w.publish(table.Detect, endpoint.Addr())
			client := w.dial()
			client.Send(request)
			server := endpoint.Accept()
			server.Expect(request)
			server.Send("HTTP/1.1 200 Established\r\n\r\n")
			client.Expect("HTTP/1.1 200 Established\r\n\r\n")
			client.Send("\x16\x03\x01")
			server.Expect("\x16\x03\x01")
		}
	})
	t.Run("server speaks first", func(t *testing.T) {
		w := newWorld(t, 1)
		endpoint := proxytest.Listen(t)
		w.publish(table.Detect, endpoint.Addr())
		client := w.dial()
		w.reactor.Settle()
		w.reactor.Advance(2 * time.Millisecond)
		server := endpoint.Accept()
		server.Send("220 ready\r\n")
		client.Expect("220 ready\r\n") // without any more time passing
		client.Send(get)
		server.Expect(get)
	})
	t.Run("nobody listens", func(t *testing.T) {
		w := newWorld(t, 1)
		endpoint := proxytest.Listen(t)
		endpoint.Close()
		w.publish(table.Detect, endpoint.Addr())
		client := w.dial()
		w.reactor.Settle()
		for range 20 { // the dial may fail late on a busy machine
			w.reactor.Advance(51 * time.Millisecond)
		}
		client.ExpectReset()
		w.eventually(`proxy_connection_failures_total{reason="connect_failed",service="shop/cart:80",source="shop/web-0"} 1`)
	})
}

// TestTablesChangeDuringDetection: a backend has another index in the next
// snapshot, and another backend has its index.
func TestTablesChangeDuringDetection(t *testing.T) {
	w := newWorld(t, 1)
	endpoint, stranger := proxytest.Listen(t), proxytest.Listen(t)
	w.publish(table.Detect, endpoint.Addr())
	speaks, waits := w.dial(), w.dial()
	w.reactor.Settle()
	in := serviceInput(table.Detect, endpoint.Addr())
	in.Backends = append(in.Backends, table.BackendInput{Name: "a/first:80",
		Endpoints: []table.EndpointInput{{Addr: stranger.Addr(), Ready: true}}})
	w.apply(in)
	speaks.Send("*1\r\n")
	endpoint.Accept().Expect("*1\r\n")
	w.reactor.Advance(2 * time.Millisecond) // waits is dialled for
	server := endpoint.Accept()
	server.Send("220 ready\r\n")
	waits.Expect("220 ready\r\n")
}

func TestTCPTriesAnotherEndpoint(t *testing.T) {
	w := newWorld(t, 1)
	dead, alive := proxytest.Listen(t), proxytest.Listen(t)
	dead.Close()
	w.publish(table.TCP, dead.Addr(), alive.Addr())
	for range 2 {
		client := w.dial()
		server := alive.Accept()
		server.Send("hello")
		client.Expect("hello")
	}
}

// refused connects and expects a reset, which may come before connect returns.
func (w *world) refused() {
	w.t.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(w.listener))
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		w.t.Errorf("got %v, want a reset", err)
	}
}

func TestUnknownOrigin(t *testing.T) {
	w := newWorld(t, 1)
	w.refused()
	w.eventually(`proxy_connection_failures_total{reason="unknown_origin",service="",source=""} 1`)
}

func TestConnectionsAreSpreadOverLoops(t *testing.T) {
	w := newWorld(t, 2)
	endpoint := proxytest.Listen(t)
	w.publish(table.HTTP1, endpoint.Addr())
	for range 10 {
		w.dial()
	}
	w.eventually(`proxy_connections_open{protocol="http1",service="shop/cart:80",source="shop/web-0"} 10`)
	w.eventually(`proxy_loop_connections{loop="0"} 5`)
	w.eventually(`proxy_loop_connections{loop="1"} 5`)
}

func TestForgetDrainsThenAborts(t *testing.T) {
	w := newWorld(t, 1)
	endpoint := proxytest.Listen(t)
	w.publish(table.HTTP1, endpoint.Addr())
	idle, quiet, busy, stuck := w.dial(), w.dial(), w.dial(), w.dial()
	busy.Send(get)
	first := endpoint.Accept()
	first.Expect(get)
	stuck.Send(get)
	endpoint.Accept().Expect(get)
	w.reactor.Settle()
	w.server.Forget(7, time.Minute)
	w.reactor.Settle()
	// Not closed at once: a request may be on its way. Nor are those refused that
	// were redirected before the workload left.
	for _, client := range []*proxytest.Peer{idle, w.dial()} {
		client.Send(get)
		server := endpoint.Accept()
		server.Expect(get)
		server.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		client.Expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		client.ExpectEOF()
	}
	w.reactor.Advance(3 * time.Second)
	quiet.ExpectEOF()
	first.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	busy.Expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	busy.ExpectEOF()
	w.reactor.Advance(time.Minute)
	stuck.ExpectReset()
	if err := w.server.Drain(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestDrain(t *testing.T) {
	w := newWorld(t, 2)
	endpoint := proxytest.Listen(t)
	w.publish(table.HTTP1, endpoint.Addr())
	var idle []*proxytest.Peer
	for range 4 {
		idle = append(idle, w.dial())
	}
	w.eventually(`proxy_connections_open{protocol="http1",service="shop/cart:80",source="shop/web-0"} 4`)
	done := make(chan error, 1)
	go func() { done <- w.server.Drain(context.Background()) }()
	for drained := false; !drained; {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			drained = true
		case <-time.After(time.Millisecond):
			w.reactor.Advance(100 * time.Millisecond)
		}
	}
	for _, c := range idle {
		c.ExpectEOF()
	}
}

func TestDrainGivesUp(t *testing.T) {
	w := newWorld(t, 1)
	endpoint := proxytest.Listen(t)
	w.publish(table.HTTP1, endpoint.Addr())
	client := w.dial()
	client.Send(get)
	endpoint.Accept().Expect(get)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.server.Drain(ctx); err == nil || !strings.Contains(err.Error(), "1 connections are left") {
		t.Errorf("got %v", err)
	}
}

// faulty panics for one connection.
type faulty struct{ panics chan bool }

func (f faulty) Origin(netip.AddrPort) (netip.AddrPort, bool) {
	if <-f.panics {
		panic("a fault of ours")
	}
	return vip(), true
}

func TestPanicEndsOneConnection(t *testing.T) {
	origins := faulty{make(chan bool, 2)}
	w := newWorldWith(t, 1, func(c *proxy.Config) { c.Origins = origins })
	w.reactor.AllowPanics(1)
	endpoint := proxytest.Listen(t)
	w.publish(table.HTTP1, endpoint.Addr())
	origins.panics <- true
	w.refused()
	origins.panics <- false
	client := w.dial()
	client.Send(get)
	endpoint.Accept().Expect(get)
	w.eventually(`proxy_connection_failures_total{reason="panic",service="",source=""} 1`)
	w.eventually(`proxy_loop_panics_total{loop="0"} 1`)
}

func TestBreakerIsExposed(t *testing.T) {
	w := newWorld(t, 1)
	dead, alive := proxytest.Listen(t), proxytest.Listen(t)
	dead.Close()
	w.publish(table.TCP, dead.Addr(), alive.Addr())
	for range 12 {
		client := w.dial()
		server := alive.Accept()
		server.Send("hello")
		client.Expect("hello")
	}
	w.eventually(`proxy_breaker_state{backend="shop/cart:80",endpoint="` + dead.Addr().String() + `",state="open"} 1`)
	w.eventually(`proxy_ejections_total{backend="shop/cart:80"} 1`)
}

func TestRefreshForgetsOldSnapshots(t *testing.T) {
	w := newWorld(t, 1)
	endpoint := proxytest.Listen(t)
	w.publish(table.HTTP1, endpoint.Addr())
	client := w.dial()
	client.Send(get)
	server := endpoint.Accept()
	server.Expect(get)
	server.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	client.Until("\r\n\r\n")
	w.reactor.Settle()
	w.apply(table.Input{})
	w.reactor.Settle()
	w.reactor.Advance(time.Hour)
	w.apply(table.Input{})
	w.reactor.Settle()
	w.reactor.Advance(2 * time.Second)
	if text := w.exposition(); strings.Contains(text, `proxy_requests_total{`) {
		t.Errorf("series of a service that is gone are kept:\n%s", text)
	}
}

// TestForgetCutsWhatComesLate: a connection that is accepted after its workload was
// forgotten is cut with the others.
func TestForgetCutsWhatComesLate(t *testing.T) {
	w := newWorld(t, 2)
	endpoint := proxytest.Listen(t)
	w.publish(table.TCP, endpoint.Addr())
	w.server.Forget(7, time.Minute)
	w.reactor.Settle()
	late := w.dial()
	server := endpoint.Accept()
	server.Send("hello")
	late.Expect("hello")
	w.reactor.Advance(59 * time.Second)
	server.Send("hello")
	late.Expect("hello")
	w.reactor.Advance(time.Second)
	late.ExpectReset()
	server.ExpectReset()
}
