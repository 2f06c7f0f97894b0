package l7_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/l7"
	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

func TestNoEndpoint(t *testing.T) {
	w := newWorld(t, l7.Limits{})
	w.apply(nil, at(backend))
	client, _ := w.dial()
	for range 2 { // the connection stays
		client.Send(get("/"))
		if head := client.Until("\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 503 ") ||
			!strings.Contains(head, "x-culvert-reason: no_endpoint\r\n") || strings.Contains(head, "close") {
			t.Errorf("got %q", head)
		}
		client.Expect("no_endpoint\n")
	}
	w.counted(requests("default", backend, 503, telemetry.NoEndpoint, 2))
}

func TestMissingBackend(t *testing.T) {
	w := newWorld(t, l7.Limits{})
	rules := forward(func(f *table.ForwardInput) { f.Backends[0].Invalid = true })
	w.apply(rules, at(backend))
	client, _ := w.dial()
	client.Send(get("/"))
	if head := client.Until("\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 500 ") || !strings.Contains(head, "no_backend") {
		t.Errorf("got %q", head)
	}
}

func TestNoRoute(t *testing.T) {
	w := newWorld(t, l7.Limits{})
	rules := forward(nil)
	rules[0].Match = table.MatchInput{PathKind: table.PathExact, Path: "/there"}
	w.apply(rules, at(backend))
	client, _ := w.dial()
	client.Send(get("/elsewhere"))
	if head := client.Until("\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 404 ") || !strings.Contains(head, "no_route") {
		t.Errorf("got %q", head)
	}
	w.counted(requests("", "", 404, telemetry.NoRoute, 1))
}

func TestConnectFailureIsTriedElsewhere(t *testing.T) {
	w := newWorld(t, l7.Limits{})
	dead, alive := proxytest.Listen(t), proxytest.Listen(t)
	dead.Close()
	w.apply(nil, at(backend, dead.Addr(), alive.Addr()))
	client, _ := w.dial()
	var server *proxytest.Peer
	for range 2 { // one of the two begins at the dead one
		client.Send("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: 2\r\n\r\nhi")
		w.reactor.Settle()
		w.reactor.Advance(time.Second) // the backoff
		if server == nil {
			server = alive.Accept()
		}
		server.Expect("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: 2\r\n\r\nhi")
		server.Send(ok("x"))
		client.Expect(ok("x"))
	}
	w.counted(requests("default", backend, 200, telemetry.None, 2),
		`proxy_attempts_total{backend="shop/cart-v1:80",outcome="ok",service="shop/cart:80"} 2`)
}

func TestConnectFailureEverywhere(t *testing.T) {
	w := newWorld(t, l7.Limits{})
	dead := proxytest.Listen(t)
	dead.Close()
	w.apply(nil, at(backend, dead.Addr()))
	client, _ := w.dial()
	client.Send(get("/"))
	for range 4 {
		w.reactor.Settle()
		w.reactor.Advance(time.Second)
	}
	if head := client.Until("\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 502 ") || !strings.Contains(head, "connect_failed") {
		t.Errorf("got %q", head)
	}
}

// script is a set of endpoints that together answer the n-th request with the
// n-th answer, whichever of them it reaches.
type script struct {
	mu      sync.Mutex
	answers []string
	seen    []seen
	arrived chan struct{}
}

// seen is one request as an endpoint saw it.
type seen struct {
	endpoint int
	head     string // method and target
	body     string
	reused   bool // the connection had carried a request before
}

// What an endpoint may do in place of an answer.
const (
	reset = "reset"
	hang  = "hang"
	finis = "close"
)

// play starts n endpoints.
func play(t *testing.T, n int, answers ...string) (*script, []netip.AddrPort) {
	s := &script{answers: answers, arrived: make(chan struct{}, 100)}
	var endpoints []netip.AddrPort
	for i := range n {
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		var open sync.WaitGroup
		conns := make(chan *net.TCPConn, 100)
		open.Go(func() {
			for {
				c, err := l.AcceptTCP()
				if err != nil {
					return
				}
				conns <- c
				open.Go(func() { s.serve(i, c) })
			}
		})
		t.Cleanup(func() {
			_ = l.Close()
			for len(conns) > 0 {
				_ = (<-conns).Close()
			}
			open.Wait()
		})
		endpoints = append(endpoints, l.Addr().(*net.TCPAddr).AddrPort())
	}
	return s, endpoints
}

func (s *script) serve(endpoint int, c *net.TCPConn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for reused := false; ; reused = true {
		request, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		n := len(s.seen)
		s.seen = append(s.seen, seen{endpoint, request.Method + " " + request.RequestURI, string(body), reused})
		answer := ok("unexpected")
		if n < len(s.answers) {
			answer = s.answers[n]
		}
		s.mu.Unlock()
		switch answer {
		case reset:
			_ = c.SetLinger(0)
		case finis:
		case hang:
			s.arrived <- struct{}{}
			_, _ = in.ReadByte() // until the proxy has had enough
			return
		default:
			_, _ = io.WriteString(c, answer)
			s.arrived <- struct{}{}
			continue
		}
		_ = c.Close()
		s.arrived <- struct{}{}
		return
	}
}

// await waits until n requests were answered, moving the clock on for backoffs.
func (s *script) await(w *world, n int) {
	w.t.Helper()
	for range n {
		deadline := time.After(10 * time.Second)
		for arrived := false; !arrived; {
			select {
			case <-s.arrived:
				arrived = true
			case <-deadline:
				w.t.Fatal("the request does not arrive")
			case <-time.After(time.Millisecond):
				w.reactor.Advance(50 * time.Millisecond)
			}
		}
	}
}

func (s *script) requests() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

const busy = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"

// retrying is a rule that tries again for every reason there is.
func retrying(f *table.ForwardInput) {
	f.Retry = &table.RetryInput{
		Attempts: 2, Codes: []uint16{503}, OnReset: true, OnConnectFailure: true, Backoff: 100 * time.Millisecond,
	}
}

func post(body string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func TestRetries(t *testing.T) {
	long := strings.Repeat("x", 40<<10)
	for name, c := range map[string]struct {
		request string
		answers []string
		want    string
		status  int
		reason  telemetry.Reason
	}{
		"status":                {get("/"), []string{busy, ok("fine")}, ok("fine"), 200, telemetry.None},
		"status with body":      {post("hello"), []string{busy, ok("fine")}, ok("fine"), 200, telemetry.None},
		"status with long body": {post(long), []string{busy, busy, ok("fine")}, ok("fine"), 200, telemetry.None},
		"last status":           {get("/"), []string{busy, busy, busy}, busy, 503, telemetry.None},
		"reset":                 {get("/"), []string{reset, ok("fine")}, ok("fine"), 200, telemetry.None},
		"close":                 {get("/"), []string{finis, ok("fine")}, ok("fine"), 200, telemetry.None},
		"bad response":          {get("/"), []string{"nonsense\r\n\r\n", ok("fine")}, ok("fine"), 200, telemetry.None},
		"not idempotent":        {post("x"), []string{reset, ok("fine")}, "HTTP/1.1 502 ", 502, telemetry.UpstreamReset},
		"exhausted":             {get("/"), []string{reset, reset, reset}, "HTTP/1.1 502 ", 502, telemetry.UpstreamReset},
		"body too long": {post(strings.Repeat("x", 80<<10)), []string{busy, ok("fine")},
			busy, 503, telemetry.None},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, l7.Limits{})
			s, endpoints := play(t, 3, c.answers...)
			w.apply(forward(retrying), at(backend, endpoints...))
			client, _ := w.dial()
			client.Send(c.request)
			tries := len(c.answers)
			if c.reason != telemetry.None && name == "not idempotent" || name == "body too long" {
				tries = 1
			}
			s.await(w, tries)
			client.Expect(c.want)
			used := map[int]bool{}
			for _, r := range s.requests() {
				if used[r.endpoint] {
					t.Errorf("endpoint %d was tried twice", r.endpoint)
				}
				used[r.endpoint] = true
				if want := c.request[strings.Index(c.request, "\r\n\r\n")+4:]; r.body != want {
					t.Errorf("a body of %d bytes arrived, want %d", len(r.body), len(want))
				}
			}
			if len(used) != tries {
				t.Errorf("%d attempts, want %d", len(used), tries)
			}
			w.counted(requests("shop/cart/0", backend, c.status, c.reason, 1))
		})
	}
}

func TestRetryBudget(t *testing.T) {
	w := newWorld(t, l7.Limits{})
	s, endpoints := play(t, 1, busy, ok("unexpected"))
	b := at(backend, endpoints...)
	b.Budget = table.BudgetInput{Percent: 1, MinConcurrency: 0}
	w.apply(forward(retrying), b)
	client, _ := w.dial()
	client.Send(get("/"))
	s.await(w, 1)
	client.Expect(busy)
	w.counted(`proxy_retries_refused_total{backend="shop/cart-v1:80",reason="retry_budget",service="shop/cart:80"} 1`)
}

func TestAttemptTimeout(t *testing.T) {
	w := newWorld(t, l7.Limits{})
	s, endpoints := play(t, 2, hang, ok("fine"))
	w.apply(forward(func(f *table.ForwardInput) {
		retrying(f)
		f.AttemptTimeout = 200 * time.Millisecond
	}), at(backend, endpoints...))
	client, _ := w.dial()
	client.Send(get("/"))
	s.await(w, 2)
	client.Expect(ok("fine"))
	w.counted(`proxy_retries_total{backend="shop/cart-v1:80",reason="attempt_timeout",service="shop/cart:80"} 1`)
}

func TestTimeoutsAreAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		edit   func(*table.ForwardInput)
		reason telemetry.Reason
	}{
		"attempt": {func(f *table.ForwardInput) { f.AttemptTimeout = time.Second }, telemetry.AttemptTimeout},
		"request": {func(f *table.ForwardInput) { f.RequestTimeout = time.Second }, telemetry.RequestTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, l7.Limits{})
			endpoint := proxytest.Listen(t)
			w.apply(forward(c.edit), at(backend, endpoint.Addr()))
			client, _ := w.dial()
			client.Send(get("/"))
			server := endpoint.Accept()
			server.Expect(get("/"))
			w.reactor.Settle()
			w.reactor.Advance(1100 * time.Millisecond)
			if head := client.Until("\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 504 ") ||
				!strings.Contains(head, c.reason.String()) || strings.Contains(head, "close") {
				t.Errorf("got %q", head)
			}
			server.ExpectEOF()
			client.Expect(c.reason.String() + "\n")
			// The connection goes on.
			client.Send(get("/2"))
			server = endpoint.Accept()
			server.Expect(get("/2"))
			server.Send(ok("2"))
			client.Expect(ok("2"))
			w.counted(requests("shop/cart/0", backend, 504, c.reason, 1),
				`proxy_attempts_total{backend="shop/cart-v1:80",outcome="timeout",service="shop/cart:80"} 1`)
		})
	}
}

func TestRequestTimeoutInTheMiddleOfAResponse(t *testing.T) {
	w := newWorld(t, l7.Limits{})
	endpoint := proxytest.Listen(t)
	w.apply(forward(func(f *table.ForwardInput) { f.RequestTimeout = time.Second }), at(backend, endpoint.Addr()))
	client, o := w.dial()
	client.Send(get("/"))
	server := endpoint.Accept()
	server.Expect(get("/"))
	server.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
	client.Expect("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
	w.reactor.Settle()
	w.reactor.Advance(1100 * time.Millisecond)
	client.ExpectEOF()
	o.over(telemetry.RequestTimeout)
}
