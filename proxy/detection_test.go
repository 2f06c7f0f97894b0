package proxy_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/proxy"
	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/table"
)

const (
	undecided = `proxy_connections_open{protocol="undecided",service="shop/cart:80",source="shop/web-0"} `
	openHTTP  = `proxy_connections_open{protocol="http1",service="shop/cart:80",source="shop/web-0"} `
	openTCP   = `proxy_connections_open{protocol="tcp",service="shop/cart:80",source="shop/web-0"} `
	empty     = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
)

// silent is a connection on which nobody has spoken for an hour, and the endpoint's
// side of it.
func silent(w *world, endpoint *proxytest.Server) (client, server *proxytest.Peer) {
	w.t.Helper()
	client = w.dial()
	w.dialledFor("1")
	server = endpoint.Accept()
	w.reactor.Settle()
	w.reactor.Advance(time.Hour)
	w.eventually(undecided + "1")
	return client, server
}

// dialledFor passes the grace of so many clients that do not speak.
func (w *world) dialledFor(clients string) {
	w.t.Helper()
	for range 1000 {
		if strings.Contains(w.exposition(), undecided+clients+"\n") {
			return
		}
		w.reactor.Advance(2 * time.Millisecond)
	}
	w.t.Fatalf("not %s silent clients", clients)
}

func TestWhoeverSpeaksFirstDecides(t *testing.T) {
	cases := []struct {
		name  string
		speak func(w *world, client, server *proxytest.Peer)
	}{
		{"HTTP client", func(w *world, client, server *proxytest.Peer) {
			client.Send(get)
			server.Expect(get)
			server.Send(empty)
			client.Expect(empty)
			w.eventually(openHTTP + "1")
		}},
		{"other client", func(w *world, client, server *proxytest.Peer) {
			client.Send("PING\r\n")
			server.Expect("PING\r\n")
			server.Send("PONG\r\n")
			client.Expect("PONG\r\n")
			w.eventually(openTCP + "1")
		}},
		{"server", func(w *world, client, server *proxytest.Peer) {
			server.Send("220 ready\r\n")
			client.Expect("220 ready\r\n")
			client.Send(get)
			server.Expect(get)
			w.eventually(openTCP + "1")
		}},
		{"client ends", func(w *world, client, server *proxytest.Peer) {
			client.CloseWrite()
			server.ExpectEOF()
			server.Send("bye")
			server.Close()
			client.Expect("bye")
			client.ExpectEOF()
			w.eventually(openTCP + "0")
		}},
		{"server ends", func(w *world, client, server *proxytest.Peer) {
			server.Close()
			client.ExpectEOF()
		}},
		{"client resets", func(w *world, client, server *proxytest.Peer) {
			client.Reset()
			server.ExpectEOF()
			w.eventually(`proxy_connection_failures_total{reason="client_gone",service="shop/cart:80",source="shop/web-0"} 1`)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1)
			endpoint := proxytest.Listen(t)
			w.publish(table.Detect, endpoint.Addr())
			client, server := silent(w, endpoint)
			c.speak(w, client, server)
			w.eventually(undecided + "0")
		})
	}
}

func TestStallWithinAmbiguousBytes(t *testing.T) {
	w := newWorld(t, 1)
	endpoint := proxytest.Listen(t)
	w.publish(table.Detect, endpoint.Addr())
	client := w.dial()
	client.Send("GE")
	w.reactor.Settle()
	w.eventually(undecided + "1")
	w.reactor.Advance(2 * time.Second)
	server := endpoint.Accept()
	server.Expect("GE")
	client.Close()
	server.ExpectEOF()
	server.Close()
	w.eventually(`proxy_connection_detours_total{reason="detect_timeout",service="shop/cart:80",source="shop/web-0"} 1`)
}

func TestNoDialForAClientThatSpeaks(t *testing.T) {
	w := newWorld(t, 1)
	endpoint := proxytest.Listen(t)
	w.publish(table.Detect, endpoint.Addr())
	for range 5 {
		client := w.dial()
		client.Send("GET / HTTP/1.1\r\nHost: cart\r\nConnection: close\r\n\r\n")
		server := endpoint.Accept()
		server.Expect(get)
		server.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		client.Until("\r\n\r\n")
	}
	w.eventually(`proxy_pool_opened_total{loop="0"} 5`)
	w.eventually(`proxy_pool_idle_connections{loop="0"} 0`)
}

// TestUnusedDialsFitThePool: connections that were dialled ahead and not needed go
// to the pool as far as it has room.
func TestUnusedDialsFitThePool(t *testing.T) {
	w := newWorldWith(t, 1, func(c *proxy.Config) { c.Pool.PerKey = 2 })
	endpoint := proxytest.Listen(t)
	w.publish(table.Detect, endpoint.Addr())
	var clients []*proxytest.Peer
	for range 4 {
		clients = append(clients, w.dial())
	}
	w.dialledFor("4")
	w.eventually(`proxy_pool_opened_total{loop="0"} 4`)
	for _, c := range clients {
		c.Send("GET / HTTP/1.1\r\n\r\n") // no Host: an answer without an attempt
		c.Until("\r\n\r\n")
	}
	w.eventually(`proxy_pool_idle_connections{loop="0"} 2`)
	w.eventually(`proxy_backend_live_attempts{backend="shop/cart:80"} 0`)
}

// TestDialsAheadDoNotHeal: that a connection can be made says nothing about an
// endpoint that answers each request with 500.
func TestDialsAheadDoNotHeal(t *testing.T) {
	w := newWorld(t, 1)
	answering := func(status int) netip.AddrPort {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(server.Close)
		return netip.MustParseAddrPort(server.Listener.Addr().String())
	}
	w.publish(table.Detect, answering(500), answering(200), answering(200))
	for range 24 {
		client := w.dial()
		w.dialledFor("1")
		client.Send(get)
		client.Until("\r\n\r\n")
		client.Close()
	}
	w.eventually(`proxy_ejections_total{backend="shop/cart:80"} 1`)
}

func TestSilentConnectionsEnd(t *testing.T) {
	t.Run("drain", func(t *testing.T) {
		w := newWorld(t, 1)
		endpoint := proxytest.Listen(t)
		w.publish(table.Detect, endpoint.Addr())
		client, server := silent(w, endpoint)
		w.server.Forget(7, time.Minute)
		w.reactor.Settle()
		w.reactor.Advance(3 * time.Second)
		client.ExpectEOF()
		server.ExpectEOF()
		w.eventually(undecided + "0")
	})
	t.Run("cut", func(t *testing.T) {
		w := newWorld(t, 1)
		endpoint := proxytest.Listen(t)
		w.publish(table.Detect, endpoint.Addr())
		client, _ := silent(w, endpoint)
		w.server.Forget(7, 0)
		client.ExpectReset()
		w.eventually(`proxy_connection_failures_total{reason="draining",service="shop/cart:80",source="shop/web-0"} 1`)
	})
	t.Run("idle", func(t *testing.T) {
		w := newWorldWith(t, 1, func(c *proxy.Config) { c.Limits.TCPIdleTimeout = 2 * time.Hour })
		endpoint := proxytest.Listen(t)
		w.publish(table.Detect, endpoint.Addr())
		client, _ := silent(w, endpoint)
		w.reactor.Advance(time.Hour)
		client.ExpectEOF()
		w.eventually(`proxy_connection_failures_total{reason="idle_timeout",service="shop/cart:80",source="shop/web-0"} 1`)
	})
	t.Run("the service is gone", func(t *testing.T) {
		w := newWorld(t, 1)
		endpoint := proxytest.Listen(t)
		w.publish(table.Detect, endpoint.Addr())
		client, _ := silent(w, endpoint)
		w.apply(table.Input{})
		client.Send(get)
		client.ExpectReset()
		w.eventually(undecided + "0")
	})
}

// TestRoutesThatComeWhileNobodySpeaks: the newest tables decide.
func TestRoutesThatComeWhileNobodySpeaks(t *testing.T) {
	w := newWorld(t, 1)
	endpoint := proxytest.Listen(t)
	w.publish(table.Detect, endpoint.Addr())
	client, _ := silent(w, endpoint)
	in := serviceInput(table.Detect, endpoint.Addr())
	in.Services[0].Rules = []table.RuleInput{{Name: "teapot", Action: table.ActionInput{Direct: &table.DirectInput{Status: 418}}}}
	w.apply(in)
	client.Send(get)
	if got := client.Until("\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 418 ") {
		t.Errorf("got %q", got)
	}
}

// panicking panics at the first socket.
type panicking struct {
	proxytest.Sockets
	left int
}

func (p *panicking) Socket(workload uint32, ipv6 bool) (int, error) {
	if p.left--; p.left == 0 {
		panic("a fault of the dialer")
	}
	return p.Sockets.Socket(workload, ipv6)
}

func TestPanicWhileDiallingAhead(t *testing.T) {
	w := newWorldWith(t, 1, func(c *proxy.Config) { c.Dialer = &panicking{left: 1} })
	w.reactor.AllowPanics(1)
	endpoint := proxytest.Listen(t)
	w.publish(table.Detect, endpoint.Addr())
	client := w.dial()
	w.dialledFor("1")
	client.Send(get)
	server := endpoint.Accept()
	server.Expect(get)
	server.Send(empty)
	client.Expect(empty)
	w.eventually(`proxy_backend_live_attempts{backend="shop/cart:80"} 0`)
}

// TestSilentConnectionsAreSmall is TestIdleConnectionsAreSmall for connections on
// which nobody has spoken: both of their sides are held.
func TestSilentConnectionsAreSmall(t *testing.T) {
	const connections, limit = 1000, 3072 // bytes each
	raiseLimit(t, 4*connections)
	w := newWorld(t, 1)
	endpoint := proxytest.Listen(t)
	w.publish(table.Detect, endpoint.Addr())
	before := userMemory()
	for range connections {
		defer unix.Close(connect(t, w))
	}
	w.dialledFor("1000")
	for range 10 { // the dials' coroutines come to their end
		w.reactor.Advance(2 * time.Second)
	}
	after := userMemory()
	if each := (int64(after) - int64(before)) / connections; each > limit {
		t.Errorf("%d bytes a connection, want at most %d", each, limit)
	} else {
		t.Logf("%d bytes a connection", each)
	}
}
