package l7_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/l7"
	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

func TestKeepAliveReusesBothConnections(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	var server *proxytest.Peer
	for i := range 3 {
		path := fmt.Sprintf("/%d", i)
		client.Send(get(path))
		if server == nil {
			server = endpoint.Accept()
		}
		server.Expect(get(path))
		server.Send(ok(path))
		client.Expect(ok(path))
	}
	client.Close()
	o.over(telemetry.None)
	w.counted(requests("default", backend, 200, telemetry.None, 3),
		`proxy_attempts_reused_total{backend="shop/cart-v1:80",service="shop/cart:80"} 2`)
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	w, endpoint := single(t)
	client, _ := w.dial()
	post := "POST /2 HTTP/1.1\r\nHost: cart\r\nContent-Length: 3\r\n\r\nabc"
	client.Send(get("/1") + post + get("/3"))
	server := endpoint.Accept()
	server.Expect(get("/1"))
	server.Send(ok("one"))
	server.Expect(post)
	server.Send(ok("two"))
	server.Expect(get("/3"))
	server.Send(ok("three"))
	client.Expect(ok("one") + ok("two") + ok("three"))
}

func TestPipelinedBehindAStreamedBody(t *testing.T) {
	w, endpoint := single(t)
	client, _ := w.dial()
	client.Send("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: 6\r\n\r\nabc")
	server := endpoint.Accept()
	server.Expect("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: 6\r\n\r\nabc")
	client.Send("def" + get("/2"))
	server.Expect("def")
	server.Send(ok("one"))
	client.Expect(ok("one"))
	server.Expect(get("/2"))
	server.Send(ok("two"))
	client.Expect(ok("two"))
}

func TestRequestSplitAtEveryByte(t *testing.T) {
	w, endpoint := single(t)
	client, _ := w.dial()
	request := "POST /a HTTP/1.1\r\nHost: cart\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
	var server *proxytest.Peer
	for at := 1; at < len(request); at++ {
		client.Send(request[:at])
		w.reactor.Settle()
		client.Send(request[at:])
		if server == nil {
			server = endpoint.Accept()
		}
		if got := server.Until("0\r\n\r\n"); !strings.HasSuffix(strings.ReplaceAll(dechunk(got), "\r\n", ""), "abc") {
			t.Fatalf("split at %d: %q", at, got)
		}
		server.Send(ok("x"))
		client.Expect(ok("x"))
	}
}

// dechunk joins the chunks behind the head of a message.
func dechunk(message string) string {
	_, body, _ := strings.Cut(message, "\r\n\r\n")
	var out strings.Builder
	for body != "" {
		line, rest, _ := strings.Cut(body, "\r\n")
		var size int
		if _, err := fmt.Sscanf(line, "%x", &size); err != nil || size == 0 || size > len(rest) {
			break
		}
		out.WriteString(rest[:size])
		body = strings.TrimPrefix(rest[size:], "\r\n")
	}
	return out.String()
}

func TestHTTP10(t *testing.T) {
	t.Run("closes", func(t *testing.T) {
		w, endpoint := single(t)
		client, o := w.dial()
		client.Send("GET / HTTP/1.0\r\n\r\n")
		server := endpoint.Accept()
		server.Expect("GET / HTTP/1.1\r\nHost: 10.96.0.1:8080\r\n\r\n")
		server.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
		client.Expect("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc")
		client.ExpectEOF()
		o.over(telemetry.None)
	})
	t.Run("keeps alive when asked", func(t *testing.T) {
		w, endpoint := single(t)
		client, _ := w.dial()
		for range 2 {
			client.Send("GET / HTTP/1.0\r\nHost: cart\r\nConnection: keep-alive\r\n\r\n")
		}
		server := endpoint.Accept()
		server.Until("\r\n\r\n")
		server.Send(ok("1"))
		client.Expect("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n1")
		server.Until("\r\n\r\n")
		server.Send(ok("2"))
		client.Expect("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n2")
	})
}

func TestHalfCloseIsStillAnswered(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send(get("/"))
	client.CloseWrite()
	server := endpoint.Accept()
	server.Expect(get("/"))
	w.reactor.Settle()
	server.Send(ok("late"))
	client.Expect(ok("late"))
	client.ExpectEOF()
	o.over(telemetry.None)
}

func TestClientResetCancelsTheAttempt(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send(get("/slow"))
	server := endpoint.Accept()
	server.Expect(get("/slow"))
	client.Reset()
	server.ExpectEOF()
	o.over(telemetry.ClientGone)
	w.counted(requests("default", backend, 0, telemetry.ClientGone, 1),
		`proxy_attempts_total{backend="shop/cart-v1:80",outcome="cancelled",service="shop/cart:80"} 1`)
}

func TestIdleTimeout(t *testing.T) {
	w, _ := single(t)
	client, o := w.dial()
	w.reactor.Settle()
	w.reactor.Advance(11 * time.Minute)
	client.ExpectEOF()
	o.over(telemetry.IdleTimeout)
}

func TestHeadTimeout(t *testing.T) {
	w, _ := single(t)
	client, o := w.dial()
	client.Send("GET / HT")
	w.reactor.Settle()
	w.reactor.Advance(31 * time.Second)
	if head := client.Until("\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 408 ") || !strings.Contains(head, "Connection: close") {
		t.Errorf("got %q", head)
	}
	client.Expect("client_timeout\n")
	client.ExpectEOF()
	o.over(telemetry.ClientTimeout)
}

func TestBodyTimeout(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: 6\r\n\r\nabc")
	server := endpoint.Accept()
	server.Until("abc")
	w.reactor.Settle()
	w.reactor.Advance(6 * time.Minute)
	if head := client.Until("\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 408 ") {
		t.Errorf("got %q", head)
	}
	client.CloseWrite()
	o.over(telemetry.None)
	w.counted(requests("default", backend, 408, telemetry.ClientTimeout, 1))
}

func TestBadHeads(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		status  int
		reason  telemetry.Reason
	}{
		"both framings":  {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, telemetry.BadRequest},
		"no host":        {"GET / HTTP/1.1\r\n\r\n", 400, telemetry.BadRequest},
		"bare LF":        {"GET / HTTP/1.1\nHost: a\n\n", 400, telemetry.BadRequest},
		"version":        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, telemetry.VersionNotSupported},
		"connect":        {"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501, telemetry.NotImplemented},
		"long target":    {"GET /" + strings.Repeat("a", 9<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414, telemetry.TargetTooLong},
		"large head":     {"GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("a", 65<<10) + "\r\n\r\n", 431, telemetry.HeadTooLarge},
		"odd expect":     {"POST / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\n", 417, telemetry.ExpectationFailed},
		"bad chunk":      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, telemetry.BadRequest},
		"smuggled later": {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400, telemetry.BadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := single(t)
			client, o := w.dial()
			client.Send(c.request)
			head := client.Until("\r\n\r\n")
			if !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d ", c.status)) ||
				!strings.Contains(head, l7.ReasonHeader+": "+c.reason.String()) ||
				!strings.Contains(head, "Connection: close") {
				t.Errorf("got %q", head)
			}
			client.Expect(c.reason.String() + "\n")
			client.ExpectEOF()
			client.Close()
			<-o.ended
		})
	}
}

func TestDrainClosesAfterTheNextResponse(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send(get("/"))
	server := endpoint.Accept()
	server.Expect(get("/"))
	w.reactor.Do(0, func() {
		if o.session.Drain() {
			t.Error("a connection with a request is said to be idle")
		}
	})
	server.Send(ok("x"))
	client.Expect("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
	client.ExpectEOF()
	o.over(telemetry.None)
}

func TestDrainOfAnIdleConnection(t *testing.T) {
	w, _ := single(t)
	client, o := w.dial()
	w.reactor.Settle()
	w.reactor.Do(0, func() {
		if !o.session.Drain() {
			t.Error("not idle")
		}
		o.session.End(telemetry.Draining)
	})
	client.ExpectEOF()
	o.over(telemetry.Draining)
}
