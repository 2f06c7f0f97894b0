package l7_test

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/l7"
	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// TestRetryInTheMiddleOfAnUpload: the endpoint is lost while the client is still
// sending; the next one gets the body from its beginning.
func TestRetryInTheMiddleOfAnUpload(t *testing.T) {
	for name, end := range map[string]func(*proxytest.Peer){
		"reset":  (*proxytest.Peer).Reset,
		"status": func(p *proxytest.Peer) { p.Send(busy) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, l7.Limits{})
			endpoint := proxytest.Listen(t)
			w.apply(forward(retrying), at(backend, endpoint.Addr()))
			client, _ := w.dial()
			const head = "PUT / HTTP/1.1\r\nHost: cart\r\nTransfer-Encoding: chunked\r\n\r\n"
			client.Send(head + "3\r\none\r\n")
			server := endpoint.Accept()
			server.Expect(head + "3\r\none\r\n")
			client.Send("3\r\ntwo\r\n")
			server.Expect("3\r\ntwo\r\n")
			end(server)
			w.reactor.Settle()
			w.reactor.Advance(time.Second)
			second := endpoint.Accept()
			second.Expect(head + "3\r\none\r\n3\r\ntwo\r\n")
			client.Send("5\r\nthree\r\n0\r\n\r\n")
			second.Expect("5\r\nthree\r\n0\r\n\r\n")
			second.Send(ok("x"))
			client.Expect(ok("x"))
			client.Send(get("/next"))
			second.Expect(get("/next"))
		})
	}
}

func TestResponseTimeout(t *testing.T) {
	w := newWorld(t, l7.Limits{ResponseTimeout: time.Second})
	endpoint := proxytest.Listen(t)
	w.apply(nil, at(backend, endpoint.Addr()))
	client, o := w.dial()
	client.Send(get("/"))
	server := endpoint.Accept()
	server.Expect(get("/"))
	server.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
	client.Until("half")
	w.reactor.Settle()
	w.reactor.Advance(1100 * time.Millisecond)
	client.ExpectEOF()
	o.over(telemetry.UpstreamIdle)
}

func TestWriteTimeout(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send(get("/"))
	server := endpoint.Accept()
	server.Expect(get("/"))
	server.Send("HTTP/1.1 200 OK\r\n\r\n")
	go func() { // until the proxy has had enough
		for chunk := []byte(strings.Repeat("x", 1<<20)); ; {
			if _, err := server.Conn().Write(chunk); err != nil {
				return
			}
		}
	}()
	for ended := false; !ended; { // nobody reads
		select {
		case reason := <-o.ended:
			if ended = true; reason != telemetry.ClientGone {
				t.Errorf("ended for %s", reason)
			}
		case <-time.After(10 * time.Millisecond):
			w.reactor.Advance(time.Minute)
		}
	}
}

func TestRequestTimeoutDuringBackoff(t *testing.T) {
	w := newWorld(t, l7.Limits{})
	s, endpoints := play(t, 1, busy)
	w.apply(forward(func(f *table.ForwardInput) {
		retrying(f)
		f.Retry.Backoff, f.Retry.MaxBackoff = time.Hour, time.Hour
		f.RequestTimeout = time.Second
	}), at(backend, endpoints...))
	client, _ := w.dial()
	client.Send(get("/"))
	s.await(w, 1)
	w.reactor.Settle()
	w.reactor.Advance(1100 * time.Millisecond)
	if head := client.Until("\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 504 ") || !strings.Contains(head, "request_timeout") {
		t.Errorf("got %q", head)
	}
}
