package l7_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/proxy/l7"
	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// Ways out of a request that leave something behind when they are forgotten.

const (
	liveRequests = `proxy_concurrent_requests{service="shop/cart:80"} `
	openHTTP     = `proxy_connections_open{protocol="http1",service="shop/cart:80",source="shop/web-0"} `
)

// fullServer is an address that answers no connect: its queue is full.
func fullServer(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err = unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
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

// TestConnectKeepsToTheRequestsTime: the policy's times bound a connect, too.
func TestConnectKeepsToTheRequestsTime(t *testing.T) {
	cases := map[string]struct {
		edit func(*table.ForwardInput)
		want telemetry.Reason
	}{
		"attempt": {func(f *table.ForwardInput) { f.AttemptTimeout = 100 * time.Millisecond }, telemetry.ConnectTimeout},
		"request": {func(f *table.ForwardInput) { f.RequestTimeout = 100 * time.Millisecond }, telemetry.RequestTimeout},
		"both": {func(f *table.ForwardInput) {
			f.AttemptTimeout, f.RequestTimeout = 50*time.Millisecond, 100*time.Millisecond
		},
			telemetry.ConnectTimeout},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, l7.Limits{})
			w.apply(forward(func(f *table.ForwardInput) {
				f.Retry = &table.RetryInput{}
				c.edit(f)
			}), at(backend, fullServer(t)))
			client, _ := w.dial()
			client.Send(get("/"))
			w.reactor.Settle()
			for range 11 { // 110 ms: the backend's own bound is 1 s
				w.reactor.Advance(10 * time.Millisecond)
			}
			head := client.Until("\r\n\r\n")
			if !strings.HasPrefix(head, "HTTP/1.1 504 ") || !strings.Contains(head, "x-culvert-reason: "+c.want.String()+"\r\n") {
				t.Errorf("got %q", head)
			}
			w.counted(liveRequests + "0")
		})
	}
}

// panicking is a dialer that panics at the nth socket.
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

// TestPanicLeavesNothing: a panic in a request ends that connection, with a
// reset, and is counted; its lease is given back.
func TestPanicLeavesNothing(t *testing.T) {
	w := newWorldOf(t, l7.Limits{}, &panicking{left: 2})
	w.reactor.AllowPanics(1)
	endpoint := proxytest.Listen(t)
	w.apply(forward(nil), at(backend, endpoint.Addr()))
	client, _ := w.dial()
	client.Send(get("/"))
	server := endpoint.Accept()
	server.Expect(get("/"))
	server.Send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
	client.Until("x")
	client.Send(get("/"))
	client.ExpectReset()
	w.counted(liveRequests+"0", openHTTP+"0",
		requests("shop/cart/0", backend, 0, telemetry.Panic, 1))
	if live := w.registry.Dump()[0].Live; live != 0 {
		t.Errorf("%d leases are live", live)
	}
}

// TestFailureBehindInformational: an endpoint that dies after a 100 is a failure
// that the client is told of, and there is no other attempt.
func TestFailureBehindInformational(t *testing.T) {
	w, endpoint := single(t)
	client, _ := w.dial()
	client.Send("POST / HTTP/1.1\r\nHost: cart\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	server := endpoint.Accept()
	server.Until("\r\n\r\n")
	server.Send("HTTP/1.1 100 Continue\r\n\r\n")
	client.Expect("HTTP/1.1 100 Continue\r\n\r\n")
	client.Send("abc")
	server.Expect("abc")
	server.Close()
	head := client.Until("\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 502 ") || !strings.Contains(head, "x-culvert-reason: upstream_reset\r\n") {
		t.Errorf("got %q", head)
	}
}

// TestLastResponseBeforeMoreInput: what the client sends behind its last request
// does not make the close a reset that overtakes the response.
func TestLastResponseBeforeMoreInput(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send("GET / HTTP/1.1\r\nHost: cart\r\nConnection: close\r\n\r\n" + strings.Repeat("x", 200<<10))
	server := endpoint.Accept()
	server.Expect(get("/"))
	body := strings.Repeat("y", 1<<20)
	go server.Conn().Write([]byte(ok(body)))
	head := client.Until("\r\n\r\n")
	if !strings.Contains(head, "Connection: close\r\n") {
		t.Errorf("got %q", head)
	}
	client.Bytes(len(body))
	client.ExpectEOF()
	client.Close()
	o.over(telemetry.None)
}

// TestUpgradeIsReportedAtOnce: a tunnel is a connection, and its request is over.
func TestUpgradeIsReportedAtOnce(t *testing.T) {
	w, endpoint := single(t)
	upgrade := func() (client, server *proxytest.Peer, o *owner) {
		client, o = w.dial()
		client.Send("GET /ws HTTP/1.1\r\nHost: cart\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
		server = endpoint.Accept()
		server.Until("\r\n\r\n")
		server.Send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
		client.Until("\r\n\r\n")
		return client, server, o
	}
	client, server, o := upgrade()
	w.counted(liveRequests+"0", openHTTP+"1", requests("default", backend, 101, telemetry.None, 1))
	if live := w.registry.Dump()[0].Live; live != 1 {
		t.Errorf("%d leases are live, want the tunnel's", live)
	}
	w.reactor.Do(0, func() { o.session.Abort() })
	client.ExpectReset()
	server.ExpectReset()
	o.over(telemetry.Draining)

	client, server, o = upgrade()
	server.Reset()
	client.ExpectReset()
	o.over(telemetry.UpstreamReset)
	w.counted(openHTTP + "0")
	if live := w.registry.Dump()[0].Live; live != 0 {
		t.Errorf("%d leases are live", live)
	}
}

// TestCutForDraining: a connection that is cut, wherever it is, or meets the loop's
// end, was not left by its client or its endpoint.
func TestCutForDraining(t *testing.T) {
	stages := map[string]func(client *proxytest.Peer, endpoint *proxytest.Server){
		"idle": func(*proxytest.Peer, *proxytest.Server) {},
		"head": func(client *proxytest.Peer, _ *proxytest.Server) { client.Send("GET / HT") },
		"attempt": func(client *proxytest.Peer, endpoint *proxytest.Server) {
			client.Send(get("/"))
			endpoint.Accept().Expect(get("/"))
		},
		"upload": func(client *proxytest.Peer, endpoint *proxytest.Server) {
			client.Send("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: 9\r\n\r\nabc")
			endpoint.Accept().Until("abc")
		},
		"response": func(client *proxytest.Peer, endpoint *proxytest.Server) {
			client.Send(get("/"))
			server := endpoint.Accept()
			server.Expect(get("/"))
			server.Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
			client.Until("abc")
		},
	}
	for name, reach := range stages {
		t.Run(name, func(t *testing.T) {
			w, endpoint := single(t)
			client, o := w.dial()
			reach(client, endpoint)
			w.reactor.Settle()
			w.reactor.Do(0, o.session.Abort)
			o.over(telemetry.Draining)

			client, o = w.dial()
			reach(client, endpoint)
			w.reactor.Settle()
			w.reactor.End()
			o.over(telemetry.Draining)
		})
	}
}

// TestDrainBehindAResponsesHead: a client that was not told of the drain gets an
// answer to its next request, which tells it; without one it is closed soon.
func TestDrainBehindAResponsesHead(t *testing.T) {
	for _, asks := range []bool{true, false} {
		w, endpoint := single(t)
		client, o := w.dial()
		client.Send(get("/"))
		server := endpoint.Accept()
		server.Expect(get("/"))
		server.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
		client.Until("a")
		w.reactor.Do(0, func() { o.session.Drain() })
		server.Send("b")
		client.Expect("b")
		w.reactor.Settle()
		if !asks {
			w.reactor.Advance(time.Second)
			client.ExpectEOF()
			o.over(telemetry.Draining)
			continue
		}
		client.Send(get("/"))
		server.Expect(get("/"))
		server.Send(ok(""))
		client.Expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		client.ExpectEOF()
		o.over(telemetry.None)
	}
}
