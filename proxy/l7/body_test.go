package l7_test

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/proxy/l7"
	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

func TestResponseFramings(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, c := range map[string]struct {
		request string
		answer  []string // in pieces
		closes  bool     // the endpoint closes behind it
		want    string
		over    bool // the client's connection ends too
	}{
		"fixed in pieces": {get("/"), []string{"HTTP/1.1 200 OK\r\nContent-Le", "ngth: 6\r\n\r\nab", "cd", "ef"}, false,
			"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef", false},
		"chunked": {get("/"), []string{chunked + "3\r\nabc\r\n0\r\n\r\n"}, false, chunked + "3\r\nabc\r\n0\r\n\r\n", false},
		"chunked in pieces": {get("/"), []string{chunked, "3\r", "\nabc\r\n", "2;x=y\r\nde\r\n", "0\r\n\r\n"}, false,
			chunked + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", false},
		"trailers": {get("/"), []string{chunked + "1\r\na\r\n0\r\nGrpc-Status: 0\r\n\r\n"}, false,
			chunked + "1\r\na\r\n0\r\nGrpc-Status: 0\r\n\r\n", false},
		"until close": {get("/"), []string{"HTTP/1.1 200 OK\r\n\r\nabc", "def"}, true,
			chunked + "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", false},
		"until close to 1.0": {"GET / HTTP/1.0\r\nHost: cart\r\n\r\n", []string{"HTTP/1.1 200 OK\r\n\r\nabc", "def"}, true,
			"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcdef", true},
		"no body":      {get("/"), []string{"HTTP/1.1 204 No Content\r\n\r\n"}, false, "HTTP/1.1 204 No Content\r\n\r\n", false},
		"not modified": {get("/"), []string{"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"}, false, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", false},
		"head": {"HEAD / HTTP/1.1\r\nHost: cart\r\n\r\n", []string{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"}, false,
			"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", false},
		"early hints": {get("/"), []string{"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", ok("x")}, false,
			"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + ok("x"), false},
		"early hints at once": {get("/"), []string{"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + ok("x")}, false,
			"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + ok("x"), false},
		"hints to 1.0": {"GET / HTTP/1.0\r\nHost: cart\r\n\r\n", []string{"HTTP/1.1 103 Early Hints\r\n\r\n" + ok("x")}, false,
			"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", true},
	} {
		t.Run(name, func(t *testing.T) {
			w, endpoint := single(t)
			client, o := w.dial()
			client.Send(c.request)
			server := endpoint.Accept()
			server.Until("\r\n\r\n")
			for _, piece := range c.answer {
				server.Send(piece)
				w.reactor.Settle()
			}
			if c.closes {
				server.Close()
			}
			client.Expect(c.want)
			if c.over {
				client.ExpectEOF()
				o.over(telemetry.None)
				return
			}
			if c.closes {
				return
			}
			client.Send(get("/next"))
			server.Expect(get("/next"))
			server.Send(ok("next"))
			client.Expect(ok("next"))
		})
	}
}

func TestCutResponses(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		reset  bool
		want   telemetry.Reason
	}{
		"fixed":     {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", false, telemetry.UpstreamReset},
		"chunked":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", false, telemetry.UpstreamReset},
		"reset":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", true, telemetry.UpstreamReset},
		"bad chunk": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", false, telemetry.UpstreamProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			w, endpoint := single(t)
			client, o := w.dial()
			client.Send(get("/"))
			server := endpoint.Accept()
			server.Until("\r\n\r\n")
			server.Send(c.answer)
			client.Until("abc")
			if c.reset {
				server.Reset()
			} else {
				server.Close()
			}
			if rest := client.Rest(); strings.Contains(rest, "0\r\n\r\n") {
				t.Errorf("a cut response looks whole: %q", rest)
			}
			o.over(c.want)
			w.counted(requests("default", backend, 200, c.want, 1))
		})
	}
}

// TestNoHost: a request of HTTP/1.0 may name no host; the endpoint is told what
// the client dialled, as by a client of HTTP/1.1 that was given that address.
func TestNoHost(t *testing.T) {
	w, endpoint := single(t)
	client, _ := w.dial()
	client.Send("GET / HTTP/1.0\r\nConnection: keep-alive\r\nA: b\r\n\r\n")
	server := endpoint.Accept()
	server.Expect("GET / HTTP/1.1\r\nHost: 10.96.0.1:8080\r\nA: b\r\n\r\n")
	server.Send(ok("x"))
	client.Until("x")
	w.apply([]table.RuleInput{{Name: "shop/cart/0", Action: table.ActionInput{Redirect: &table.RedirectInput{Status: 302}}}}, at(backend, endpoint.Addr()))
	client.Send("GET /a HTTP/1.0\r\n\r\n")
	if head := client.Until("\r\n\r\n"); !strings.Contains(head, "\r\nlocation: http://10.96.0.1:8080/a\r\n") {
		t.Errorf("got %q", head)
	}
}

func TestUntilCloseCutTo10IsReset(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send("GET / HTTP/1.0\r\n\r\n")
	server := endpoint.Accept()
	server.Until("\r\n\r\n")
	server.Send("HTTP/1.1 200 OK\r\n\r\nabc")
	client.Expect("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc")
	server.Reset()
	client.ExpectReset()
	o.over(telemetry.UpstreamReset)
}

func TestContinue(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: cart\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
	t.Run("granted", func(t *testing.T) {
		w, endpoint := single(t)
		client, _ := w.dial()
		client.Send(head)
		server := endpoint.Accept()
		server.Expect(head)
		server.Send("HTTP/1.1 100 Continue\r\n\r\n")
		client.Expect("HTTP/1.1 100 Continue\r\n\r\n")
		client.Send("abc")
		server.Expect("abc")
		server.Send(ok("x"))
		client.Expect(ok("x"))
	})
	t.Run("refused", func(t *testing.T) {
		w, endpoint := single(t)
		client, o := w.dial()
		client.Send(head)
		server := endpoint.Accept()
		server.Expect(head)
		server.Send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
		client.Expect("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		client.ExpectEOF()
		client.Close()
		o.over(telemetry.None)
		server.ExpectEOF()
	})
	t.Run("not waited for", func(t *testing.T) {
		w, endpoint := single(t)
		client, _ := w.dial()
		client.Send(head + "abc")
		server := endpoint.Accept()
		server.Expect(head + "abc")
		server.Send(ok("x"))
		client.Expect(ok("x"))
	})
}

func TestBodyCutByTheClient(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: 9\r\n\r\nabc")
	server := endpoint.Accept()
	server.Until("abc")
	client.CloseWrite()
	server.ExpectEOF()
	o.over(telemetry.ClientGone)
}

func TestBodyBreaksLater(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send("POST / HTTP/1.1\r\nHost: cart\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	server := endpoint.Accept()
	server.Until("abc\r\n")
	client.Send("zz\r\n")
	server.ExpectEOF()
	if head := client.Until("\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 400 ") {
		t.Errorf("got %q", head)
	}
	client.Close()
	<-o.ended
}

func TestUpgrade(t *testing.T) {
	w, endpoint := single(t)
	client, o := w.dial()
	client.Send("GET /ws HTTP/1.1\r\nHost: cart\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nearly")
	server := endpoint.Accept()
	server.Expect("GET /ws HTTP/1.1\r\nHost: cart\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
	server.Send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nhello")
	client.Expect("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nhello")
	server.Expect("early")
	client.Send("ping")
	server.Expect("ping")
	server.Send("pong")
	client.Expect("pong")
	client.CloseWrite()
	server.ExpectEOF()
	server.Send("bye")
	server.Close()
	client.Expect("bye")
	client.ExpectEOF()
	o.over(telemetry.None)
}

func TestUpgradeRefusedStaysHTTP(t *testing.T) {
	w, endpoint := single(t)
	client, _ := w.dial()
	client.Send("GET /ws HTTP/1.1\r\nHost: cart\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
	server := endpoint.Accept()
	server.Until("\r\n\r\n")
	server.Send(ok("no"))
	client.Expect(ok("no"))
	client.Send(get("/"))
	server.Expect(get("/"))
	server.Send(ok("x"))
	client.Expect(ok("x"))
}

// TestByteExact sends bodies both ways at once in segments of random sizes.
func TestByteExact(t *testing.T) {
	for name, length := range map[string]string{"fixed": "Content-Length: %d", "chunked": "Transfer-Encoding: chunked"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, l7.Limits{})
			endpoint := proxytest.Listen(t)
			w.apply(nil, at(backend, endpoint.Addr()))
			client, _ := w.dial()
			const size = 3 << 20
			framing := length
			if strings.Contains(length, "%d") {
				framing = fmt.Sprintf(length, size)
			}
			data := make([]byte, size)
			random := rand.NewChaCha8([32]byte{1})
			_, _ = random.Read(data)
			done := make(chan error, 2)
			go func() {
				done <- pour(client.Conn(), "POST / HTTP/1.1\r\nHost: cart\r\n"+framing+"\r\n\r\n", data, name == "chunked")
			}()
			server := endpoint.Accept()
			server.Until("\r\n\r\n")
			go func() { done <- pour(server.Conn(), "HTTP/1.1 200 OK\r\n"+framing+"\r\n\r\n", data, name == "chunked") }()
			sums := make(chan uint64, 1)
			go func() { sums <- sum(body(server, size, name == "chunked")) }()
			client.Until("\r\n\r\n")
			want := sum(data)
			if got := sum(body(client, size, name == "chunked")); got != want {
				t.Error("the response differs")
			}
			if <-sums != want {
				t.Error("the request differs")
			}
			for range 2 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func sum(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b)
	return h.Sum64()
}

// pour writes a message in segments of random sizes.
func pour(to io.Writer, head string, data []byte, chunked bool) error {
	var message bytes.Buffer
	message.WriteString(head)
	random := rand.New(rand.NewPCG(3, 4))
	for rest := data; chunked && len(rest) > 0; {
		n := min(len(rest), 1+random.IntN(20_000))
		fmt.Fprintf(&message, "%x\r\n%s\r\n", n, rest[:n])
		rest = rest[n:]
	}
	if chunked {
		message.WriteString("0\r\n\r\n")
	} else {
		message.Write(data)
	}
	for b := message.Bytes(); len(b) > 0; {
		n := min(len(b), 1+random.IntN(100_000))
		if _, err := to.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// body reads a message's body, without its framing.
func body(p *proxytest.Peer, size int, chunked bool) []byte {
	if !chunked {
		return p.Bytes(size)
	}
	var all []byte
	for {
		var n int
		if _, err := fmt.Sscanf(p.Until("\r\n"), "%x", &n); err != nil {
			return nil
		}
		all = append(all, p.Bytes(n)...)
		p.Expect("\r\n")
		if n == 0 {
			return all
		}
	}
}
