package proxy_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy"
	"github.com/culvert-mesh/culvert/proxy/table"
)

// TestNothingIsLeftBehind lets clients and endpoints that break off at every point
// meet, amid changes of the tables and of the workload, and then looks at every
// count of what is live.
func TestNothingIsLeftBehind(t *testing.T) {
	w := newWorldWith(t, 2, func(c *proxy.Config) { c.Pool.PerKey = 4 })
	w.reactor.AllowPanics(0)
	a := newAbuse(t)
	addrs := []netip.AddrPort{a.endpoint(), a.endpoint(), a.endpoint()}
	w.apply(abused(0, addrs))
	a.goes(func(*rand.Rand) { w.reactor.Advance(time.Millisecond) })
	a.goes(func(r *rand.Rand) {
		first := r.IntN(2)
		w.apply(abused(r.IntN(3), addrs[first:2+r.IntN(2)]))
		w.reactor.Settle()
	})
	for range 16 {
		a.goes(func(r *rand.Rand) { a.client(r, w.listener) })
	}
	<-time.After(2 * time.Second)
	a.end()
	w.server.Forget(7, 0)
	for range 200 {
		w.reactor.Advance(50 * time.Millisecond)
		if w.server.Connections() == 0 {
			break
		}
	}
	w.apply(abused(0, addrs))
	w.reactor.Advance(time.Minute)
	text := w.exposition()
	for _, line := range []string{
		`proxy_concurrent_requests{service="shop/cart:80"} 0`,
		openHTTP + "0", openTCP + "0", undecided + "0",
		`proxy_backend_live_attempts{backend="shop/cart:80"} 0`,
		`proxy_backend_live_retries{backend="shop/cart:80"} 0`,
		`proxy_pool_idle_connections{loop="0"} 0`, `proxy_pool_idle_connections{loop="1"} 0`,
		`proxy_loop_connections{loop="0"} 0`, `proxy_loop_connections{loop="1"} 0`,
		`proxy_loop_coroutines{loop="0"} 0`, `proxy_loop_coroutines{loop="1"} 0`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s", line)
		}
	}
	if strings.Contains(text, `state="half_open"`) {
		t.Error("a probe was lost")
	}
	for _, b := range w.server.Backends() {
		for _, e := range b.List {
			if e.InFlight != 0 || e.Connections != 0 {
				t.Errorf("%s: %d in flight, %d connections", e.Address, e.InFlight, e.Connections)
			}
		}
	}
	if t.Failed() {
		for _, line := range strings.Split(text, "\n") {
			if !strings.HasPrefix(line, "#") && !strings.Contains(line, "_bucket{") {
				t.Log(line)
			}
		}
	} else {
		t.Log(strings.Count(text, "proxy_requests_total{"), "kinds of ends")
	}
}

// abused is one of several policies for a service at addrs.
func abused(policy int, addrs []netip.AddrPort) table.Input {
	in := serviceInput(table.Detect, addrs...)
	in.Backends[0].Breaker = table.BreakerInput{Consecutive: 3, BaseEjection: 10 * time.Millisecond, MaxEjection: 40 * time.Millisecond}
	f := &table.ForwardInput{Backends: []table.WeightedBackend{{Backend: in.Backends[0].Name, Weight: 1}}}
	switch policy {
	case 1:
		f.AttemptTimeout, f.RequestTimeout = 20*time.Millisecond, 50*time.Millisecond
	case 2:
		f.RequestTimeout = 100 * time.Millisecond
		f.Retry = &table.RetryInput{Attempts: 3, Codes: []uint16{500}, OnConnectFailure: true, OnReset: true, Backoff: 2 * time.Millisecond}
	default:
		return in
	}
	in.Services[0].Rules = []table.RuleInput{{Name: "all", Action: table.ActionInput{Forward: f}}}
	return in
}

// abuse runs peers until end.
type abuse struct {
	t     *testing.T
	seed  uint64
	done  chan struct{}
	group sync.WaitGroup

	// guarded by mu
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newAbuse(t *testing.T) *abuse {
	a := &abuse{t: t, seed: rand.Uint64(), done: make(chan struct{}), conns: map[net.Conn]bool{}}
	t.Logf("seed %d", a.seed)
	return a
}

// goes does f again and again in a goroutine.
func (a *abuse) goes(f func(*rand.Rand)) {
	a.seed++
	r := rand.New(rand.NewPCG(a.seed, 1))
	a.group.Go(func() {
		for {
			select {
			case <-a.done:
				return
			default:
				f(r)
			}
		}
	})
}

// end breaks off all that is under way and waits for it.
func (a *abuse) end() {
	close(a.done)
	a.mu.Lock()
	for c := range a.conns {
		_ = c.Close()
	}
	a.mu.Unlock()
	a.group.Wait()
}

// hold lets end close c; false: it was the end already.
func (a *abuse) hold(c net.Conn) (release func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.done:
		_ = c.Close()
	default:
		a.conns[c] = true
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	return func() {
		_ = c.Close()
		a.mu.Lock()
		delete(a.conns, c)
		a.mu.Unlock()
	}
}

// endpoint is a server whose answers to whatever it reads are of all kinds.
func (a *abuse) endpoint() netip.AddrPort {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = listener.Close() })
	a.seed++
	seeds := rand.New(rand.NewPCG(a.seed, 2))
	a.group.Go(func() {
		for {
			c, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			r := rand.New(rand.NewPCG(seeds.Uint64(), 3))
			a.group.Go(func() { a.serve(r, c) })
		}
	})
	go func() {
		<-a.done
		_ = listener.Close()
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

func (a *abuse) serve(r *rand.Rand, c *net.TCPConn) {
	defer a.hold(c)()
	buf := make([]byte, 64<<10)
	for {
		if r.IntN(20) == 0 { // before, or amid, the request
			_ = c.SetLinger(0)
			return
		}
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if r.IntN(10) == 0 {
			continue // silence
		}
		if !strings.Contains(string(buf[:n]), "HTTP/1.1\r\n") && r.IntN(3) > 0 {
			continue
		}
		answer := answers[r.IntN(len(answers))]
		if r.IntN(8) == 0 {
			answer = answer[:r.IntN(len(answer))]
		}
		if _, err := io.WriteString(c, answer); err != nil || strings.Contains(answer, "close") || r.IntN(10) == 0 {
			return
		}
	}
}

var answers = [...]string{
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
	"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\ncut",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nchunk\r\n0\r\nTrailer: x\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nchunkzz",
	"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil close",
	"HTTP/1.0 200 OK\r\n\r\nclose",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 100 Continue\r\n\r\n",
	"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
	"HTTP/1.1 204 No Content\r\n\r\n",
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nhello",
	"nonsense\r\n\r\n",
}

// client opens one connection, says something, or a part of it, and breaks off, or
// not.
func (a *abuse) client(r *rand.Rand, to netip.AddrPort) {
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		return
	}
	defer a.hold(c)()
	if r.IntN(6) == 0 { // nobody speaks for a while
		a.read(r, c, 4)
	}
	for range 1 + r.IntN(4) {
		words := request(r)
		if r.IntN(8) == 0 {
			words = words[:r.IntN(len(words)+1)]
		}
		for len(words) > 0 {
			n := min(len(words), 1+r.IntN(100<<10))
			if _, err := io.WriteString(c, words[:n]); err != nil {
				return
			}
			words = words[n:]
		}
		switch r.IntN(8) {
		case 0:
			_ = c.SetLinger(0)
			return
		case 1:
			_ = c.CloseWrite()
		case 2:
			continue // pipelined
		case 3:
			return
		}
		if !a.read(r, c, 30) {
			return
		}
	}
}

// read reads something, or waits so many ms at most; false: it is over.
func (a *abuse) read(r *rand.Rand, c *net.TCPConn, ms int) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Duration(1+r.IntN(ms)) * time.Millisecond))
	_, err := c.Read(make([]byte, 1+r.IntN(4096)))
	e, timeout := err.(net.Error)
	return err == nil || timeout && e.Timeout()
}

func request(r *rand.Rand) string {
	body := strings.Repeat("b", r.IntN(3)*r.IntN(100<<10))
	switch r.IntN(10) {
	case 0:
		return "PING\r\n"
	case 1:
		return "GET / HTTP/1.0\r\n\r\n"
	case 2:
		return "HEAD / HTTP/1.1\r\nHost: cart\r\n\r\n"
	case 3:
		return fmt.Sprintf("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	case 4:
		return fmt.Sprintf("PUT / HTTP/1.1\r\nHost: cart\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body)+1, body+"b")
	case 5:
		return "GET / HTTP/1.1\r\nHost: cart\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nearly"
	case 6:
		return "GET / HTTP/1.1\r\nHost: cart\r\nConnection: close\r\n\r\n" + body
	case 7:
		return "GET / HTTP/1.1\r\nbad\r\n\r\n"
	}
	return get
}
