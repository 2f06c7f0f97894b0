package l7_test

import (
	"testing"

	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// TestClientEnd: the end of the client's side is the endpoint's to make sense of.
func TestClientEnd(t *testing.T) {
	post := "POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: 3\r\n\r\n"
	for name, c := range map[string]struct {
		before, after string // sent before and after the endpoint has the first part
		end           bool   // with the last of it
	}{
		"with the request":    {get("/"), "", true},
		"later":               {get("/"), "", false},
		"with the body's end": {post, "abc", true},
		"after the body":      {post + "abc", "", false},
	} {
		for _, answers := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				w, endpoint := single(t)
				client, o := w.dial()
				client.Send(c.before)
				if c.end && c.after == "" {
					client.CloseWrite()
				}
				server := endpoint.Accept()
				server.Until("\r\n\r\n")
				if c.after != "" {
					client.Send(c.after)
				}
				w.reactor.Settle()
				if !c.end || c.after != "" {
					client.CloseWrite()
				}
				if c.before != get("/") {
					server.Until("abc")
				}
				server.ExpectEOF()
				if answers {
					server.Send(ok("all the same"))
					client.Expect(ok("all the same"))
					client.ExpectEOF()
					o.over(telemetry.None)
					w.counted(requests("default", backend, 200, telemetry.None, 1))
					return
				}
				server.Close()
				client.ExpectEOF()
				o.over(telemetry.ClientGone)
				w.counted(requests("default", backend, 0, telemetry.ClientGone, 1),
					`proxy_attempts_total{backend="`+backend+`",outcome="cancelled",service="`+service+`"} 1`)
			})
		}
	}
}

// TestClientEndBehindRequests: an end behind pipelined requests is passed on with the
// last of them only.
func TestClientEndBehindRequests(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send(get("/1") + get("/2"))
	client.CloseWrite()
	server := endpoint.Accept()
	server.Expect(get("/1"))
	server.Send(ok("1"))
	server.Expect(get("/2"))
	server.ExpectEOF()
	server.Send(ok("2"))
	client.Expect(ok("1") + ok("2"))
	client.ExpectEOF()
	o.over(telemetry.None)
}

// TestClientEndInTheBody: a client that leaves in the middle of a response.
func TestClientEndInTheBody(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send(get("/"))
	server := endpoint.Accept()
	server.Until("\r\n\r\n")
	server.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	client.Until("abc\r\n")
	client.CloseWrite()
	server.ExpectEOF()
	server.Close()
	client.ExpectEOF()
	o.over(telemetry.ClientGone)
	w.counted(requests("default", backend, 200, telemetry.ClientGone, 1))
}
