package l7_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// Responses that overtake the body of their request.

// TestEarlyResponse: the endpoint answers and closes while the upload goes on;
// the client must get the answer whole (RFC 9112 9.6).
func TestEarlyResponse(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: 100000000\r\n\r\nbegin")
	server := endpoint.Accept()
	server.Until("begin")
	server.Send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
	client.Expect("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
	client.Send(strings.Repeat("x", 100<<10)) // a reset would make this fail
	client.ExpectEOF()
	client.Close()
	o.over(telemetry.None)
	server.Rest()
}

// TestClientEndsBehindItsBody: the response has overtaken the body, and the
// client closes when it has sent all: both directions of its connection are then
// closed, which must not be taken for a reset while bytes of the body wait.
func TestClientEndsBehindItsBody(t *testing.T) {
	const size = 8 << 20
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: %d\r\n\r\nbegin", size))
	server := endpoint.Accept()
	server.Until("begin")
	server.Send(ok("early"))
	client.Until("early")
	client.ExpectEOF()
	sent := make(chan error, 1)
	go func() {
		_, err := client.Conn().Write(make([]byte, size-len("begin")))
		sent <- errors.Join(err, client.Conn().Close())
	}()
	if n, err := io.CopyN(io.Discard, server.Conn(), size-int64(len("begin"))); err != nil {
		t.Errorf("after %d bytes: %v", n, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	o.over(telemetry.None)
	w.counted(requests("default", backend, 200, telemetry.None, 1))
	// What is left of the connection to the endpoint is as good as new.
	client, _ = w.dial()
	client.Send(get("/"))
	server.Until("\r\n\r\n")
	server.Send(ok("again"))
	client.Until("again")
}

func TestLingerEnds(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: 100\r\n\r\nbegin")
	server := endpoint.Accept()
	server.Until("begin")
	server.Send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
	client.Until("\r\n\r\n")
	client.ExpectEOF()
	w.reactor.Settle()
	w.reactor.Advance(31 * time.Second)
	o.over(telemetry.None)
}

// TestResponseOvertakesUpload: both bodies move at the same time.
func TestResponseOvertakesUpload(t *testing.T) {
	w, endpoint := single(t)
	client, _ := w.dial()
	client.Send("POST / HTTP/1.1\r\nHost: cart\r\nTransfer-Encoding: chunked\r\n\r\n")
	server := endpoint.Accept()
	server.Until("\r\n\r\n")
	server.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	client.Until("\r\n\r\n")
	for i := range 5 {
		chunk := fmt.Sprintf("4\r\nping\r\n%x\r\n%s\r\n", i+1, strings.Repeat("x", i+1))
		client.Send(chunk)
		server.Until(strings.Repeat("x", i+1) + "\r\n")
		server.Send("4\r\npong\r\n")
		client.Expect("4\r\npong\r\n")
	}
	client.Send("0\r\n\r\n")
	server.Expect("0\r\n\r\n")
	server.Send("0\r\n\r\n")
	client.Expect("0\r\n\r\n")
	client.ExpectEOF()
}
