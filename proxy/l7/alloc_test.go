package l7_test

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"testing"

	"github.com/culvert-mesh/culvert/proxy/l7"
	"github.com/culvert-mesh/culvert/proxy/table"
)

// answering is an endpoint that gives every request the same answer and
// allocates nothing for it.
func answering(t testing.TB, answer string) netip.AddrPort {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	response, done := []byte(answer), make(chan struct{})
	var conns []*net.TCPConn
	go func() {
		defer close(done)
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			conns = append(conns, c)
			go func() {
				buf := make([]byte, 64<<10)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := c.Write(response); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		for _, c := range conns {
			_ = c.Close()
		}
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// exchangeOnce makes one request over a connection that is kept.
func exchangeOnce(t testing.TB, c net.Conn, request, buf []byte, size int) {
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < size; {
		m, err := c.Read(buf[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
}

// TestNoAllocations: a request in the steady state allocates nothing, with
// rules, edits, a rewrite, timeouts and metrics.
func TestNoAllocations(t *testing.T) {
	big := ok(string(bytes.Repeat([]byte("x"), 60<<10)))
	for name, c := range map[string]struct{ request, answer string }{
		"get":          {get("/cart"), ok("hello")},
		"post":         {post("hello"), ok("hello")},
		"chunked":      {"POST /cart HTTP/1.1\r\nHost: cart\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"},
		"large":        {get("/cart"), big},
		"server error": {get("/cart"), "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, l7.Limits{})
			rules := forward(func(f *table.ForwardInput) {
				f.RequestTimeout, f.AttemptTimeout = 15e9, 15e9
				f.Rewrite = &table.RewriteInput{ReplacePrefix: true, Prefix: "/v2"}
				f.Retry = &table.RetryInput{Attempts: 2, Codes: []uint16{503}}
			})
			rules[0].Match = table.MatchInput{PathKind: table.PathPrefix, Path: "/"}
			rules[0].Action.RequestHeaders.Set = []table.HeaderValue{{Name: "X-A", Value: "1"}}
			rules[0].Action.ResponseHeaders.Set = []table.HeaderValue{{Name: "X-A", Value: "1"}}
			w.apply(rules, at(backend, answering(t, c.answer)))
			client, _ := w.dial()
			request, buf, size := []byte(c.request), make([]byte, 128<<10), len(c.answer)+len("X-A: 1\r\n")
			conn := client.Conn()
			allocations := testing.AllocsPerRun(500, func() { exchangeOnce(t, conn, request, buf, size) })
			if allocations != 0 {
				t.Errorf("%v allocations a request, want 0", allocations)
			}
		})
	}
}

func BenchmarkRequest(b *testing.B) {
	w := newWorld(b, l7.Limits{})
	w.apply(nil, at(backend, answering(b, ok("hello"))))
	client, _ := w.dial()
	request, buf := []byte(get("/cart")), make([]byte, 4<<10)
	conn, size := client.Conn(), len(ok("hello"))
	b.ReportAllocs()
	for b.Loop() {
		exchangeOnce(b, conn, request, buf, size)
	}
}

// BenchmarkReverseProxy is the standard library's in the same place.
func BenchmarkReverseProxy(b *testing.B) {
	to, err := url.Parse("http://" + answering(b, ok("hello")).String())
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(httputil.NewSingleHostReverseProxy(to))
	defer server.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	request, buf := []byte(get("/cart")), make([]byte, 4<<10)
	exchangeOnce(b, conn, request, buf, len(ok("hello")))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}
