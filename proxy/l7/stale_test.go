package l7_test

import (
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/proxy/proxytest"
)

// TestStalePooledConnection: the endpoint closes an idle connection while a
// request is on its way to it. No request may fail for that, whatever its
// method: the kernel knows that nothing of it was acknowledged.
func TestStalePooledConnection(t *testing.T) {
	for _, request := range []string{get("/"), post("x"), post(strings.Repeat("x", 30<<10))} {
		w, endpoint := single(t)
		client, _ := w.dial()
		client.Send(get("/first"))
		server := endpoint.Accept()
		server.Expect(get("/first"))
		server.Send(ok("1"))
		client.Expect(ok("1"))
		w.reactor.Settle()
		// The loop has been told of the request when the endpoint closes, and
		// so writes before it is told of that.
		started, gate := make(chan struct{}), make(chan struct{})
		loop := w.reactor.Loop(0)
		loop.Post(func() { close(started); <-gate })
		<-started
		client.Send(request)
		loop.Post(func() { server.Close() })
		close(gate)
		fresh := endpoint.Accept()
		fresh.Expect(request)
		fresh.Send(ok("2"))
		client.Expect(ok("2"))
		w.counted(`proxy_retries_total{backend="shop/cart-v1:80",reason="stale_connection",service="shop/cart:80"} 1`,
			`proxy_attempts_total{backend="shop/cart-v1:80",outcome="stale",service="shop/cart:80"} 1`)
	}
}

// TestSeenRequestIsNotRepeated: the endpoint had read the request when it
// closed, so a method that is not idempotent must not be sent again.
func TestSeenRequestIsNotRepeated(t *testing.T) {
	for _, end := range []func(*proxytest.Peer){(*proxytest.Peer).Close, (*proxytest.Peer).Reset} {
		w, endpoint := single(t)
		client, _ := w.dial()
		client.Send(get("/first"))
		server := endpoint.Accept()
		server.Expect(get("/first"))
		server.Send(ok("1"))
		client.Expect(ok("1"))
		client.Send(post("once"))
		server.Expect(post("once"))
		end(server)
		if head := client.Until("\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 502 ") || !strings.Contains(head, "upstream_reset") {
			t.Errorf("got %q", head)
		}
	}
}
