package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// dialer opens connections: a pod's Dial.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// patience is how long a client waits for one exchange.
const patience = 10 * time.Second

// client is a program that asks one thing after the other. once makes one
// exchange; it is called by one goroutine for each of the workers.
type client struct {
	name    string
	workers int
	every   time.Duration // between exchanges of one worker; 0: none
	make    func() exchanger
}

// exchanger makes one exchange at a time and keeps what it needs between them.
type exchanger interface {
	once(ctx context.Context) error
	close()
}

// tally is what the workers of one client have seen.
type tally struct {
	name string

	mu sync.Mutex
	// guarded by mu
	ok, failed int
	faults     []string // the first ones
	slowest    time.Duration
}

func (c *tally) add(start time.Time, err error) {
	took := time.Since(start)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slowest = max(c.slowest, took)
	if err == nil {
		c.ok++
		return
	}
	c.failed++
	if len(c.faults) < 8 {
		c.faults = append(c.faults, fmt.Sprintf("%s (%v): %v", start.Format("05.000"), took.Round(time.Millisecond), err))
	}
}

// count is how many exchanges have ended, well or not.
func (c *tally) count() (ok, failed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ok, c.failed
}

// traffic is clients at work.
type traffic struct {
	t       *testing.T
	cancel  context.CancelFunc
	workers sync.WaitGroup
	tallies []*tally
}

// startTraffic sets clients to work until stop, or until the test ends.
func startTraffic(t *testing.T, clients ...client) *traffic {
	ctx, cancel := context.WithCancel(context.Background())
	tr := &traffic{t: t, cancel: cancel}
	for _, c := range clients {
		into := &tally{name: c.name}
		tr.tallies = append(tr.tallies, into)
		for range c.workers {
			tr.workers.Go(func() { c.work(ctx, into) })
		}
	}
	t.Cleanup(func() { tr.stop() })
	return tr
}

func (c client) work(ctx context.Context, into *tally) {
	x := c.make()
	defer x.close()
	tick := time.NewTicker(max(c.every, time.Microsecond))
	defer tick.Stop()
	select { // not all at the same time
	case <-time.After(rand.N(c.every + 1)):
	case <-ctx.Done():
	}
	for ctx.Err() == nil {
		start := time.Now()
		// An exchange that is under way when the traffic stops may finish.
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		err := x.once(limited)
		cancel()
		into.add(start, err)
		if c.every == 0 {
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// stop ends the clients and waits for them.
func (tr *traffic) stop() {
	tr.cancel()
	tr.workers.Wait()
}

// total is how many exchanges have gone well so far.
func (tr *traffic) total() (ok int) {
	for _, c := range tr.tallies {
		n, _ := c.count()
		ok += n
	}
	return ok
}

// flow waits until so many more exchanges have gone well: time as clients see it.
func (tr *traffic) flow(n int) {
	tr.t.Helper()
	until := tr.total() + n
	err := world.Wait(tr.t.Context(), "traffic to flow", func() (bool, error) { return tr.total() >= until, nil })
	if err != nil {
		tr.report()
		tr.t.Fatal(err)
	}
}

// faults is how many exchanges have failed so far.
func (tr *traffic) faults() (failed int) {
	for _, c := range tr.tallies {
		_, n := c.count()
		failed += n
	}
	return failed
}

// report logs what each client saw.
func (tr *traffic) report() {
	tr.t.Helper()
	for _, c := range tr.tallies {
		c.mu.Lock()
		tr.t.Logf("%-22s %6d ok, %d failed, slowest %v", c.name, c.ok, c.failed, c.slowest.Round(time.Millisecond/10))
		for _, f := range c.faults {
			tr.t.Logf("    %s", f)
		}
		c.mu.Unlock()
	}
}

// unharmed ends the traffic, reports it, and fails the test if an exchange failed
// or if there were fewer than atLeast of any client.
func (tr *traffic) unharmed(atLeast int) {
	tr.t.Helper()
	tr.stop()
	tr.report()
	if n := tr.faults(); n > 0 {
		tr.t.Errorf("%d exchanges failed", n)
	}
	for _, c := range tr.tallies {
		if ok, _ := c.count(); ok < atLeast {
			tr.t.Errorf("%s made only %d exchanges, want %d", c.name, ok, atLeast)
		}
	}
}

// httpClient makes requests on one connection for as long as it lasts. It obeys
// Connection: close, notices an end between requests, and never repeats one:
// every request that is not answered counts.
type httpClient struct {
	dial   dialer
	addr   string
	path   string
	body   string // POST when not ""
	single bool   // a connection for each request
	most   int    // requests on a connection; 0: any number
	answer func(*http.Response) error

	conn net.Conn
	from *bufio.Reader
	n    int // requests on conn
}

func (h *httpClient) close() {
	if h.conn != nil {
		h.conn.Close()
		h.conn = nil
	}
}

func (h *httpClient) once(ctx context.Context) error {
	if h.conn != nil && ended(h.conn) {
		h.close()
	}
	if h.conn == nil {
		c, err := h.dial(ctx, "tcp", h.addr)
		if err != nil {
			return err
		}
		h.conn, h.from, h.n = c, bufio.NewReader(c), 0
	}
	h.n++
	r, err := h.exchange(ctx)
	if err != nil || h.single || h.n == h.most || r.Close {
		h.close()
	}
	return err
}

func (h *httpClient) exchange(ctx context.Context) (*http.Response, error) {
	if d, ok := ctx.Deadline(); ok {
		if err := h.conn.SetDeadline(d); err != nil {
			return nil, err
		}
	}
	path := h.path
	if path == "" {
		path = "/"
	}
	head := "GET " + path + " HTTP/1.1\r\nHost: chaos\r\n"
	if h.body != "" {
		head = fmt.Sprintf("POST %s HTTP/1.1\r\nHost: chaos\r\nContent-Length: %d\r\n", path, len(h.body))
	}
	if h.single {
		head += "Connection: close\r\n"
	}
	if _, err := io.WriteString(h.conn, head+"\r\n"+h.body); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	r, err := http.ReadResponse(h.from, nil)
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer's body: %w", err)
	}
	if h.answer != nil {
		return r, h.answer(r)
	}
	if r.StatusCode != http.StatusOK || r.Header.Get(peer.ServedBy) == "" {
		return r, fmt.Errorf("answered %s, reason %q: %.80s", r.Status, r.Header.Get("X-Culvert-Reason"), text)
	}
	if h.body != "" && !strings.Contains(string(text), fmt.Sprintf(`"bodyBytes":%d,`, len(h.body))) {
		return r, fmt.Errorf("the server has not seen %d bytes: %s", len(h.body), text)
	}
	return r, nil
}

// ended says whether the other side has closed a connection that is idle.
func ended(c net.Conn) bool {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return true
	}
	over := false
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		over = n == 0 && err == nil || err != nil && !errors.Is(err, unix.EAGAIN)
		return true
	})
	return over || err != nil
}

// echoClient sends a line and waits until it is back; keep holds on to its
// connection.
type echoClient struct {
	dial dialer
	addr string
	keep bool

	conn net.Conn
}

func (e *echoClient) close() {
	if e.conn != nil {
		e.conn.Close()
		e.conn = nil
	}
}

func (e *echoClient) once(ctx context.Context) (err error) {
	defer func() {
		if err != nil || !e.keep {
			e.close()
		}
	}()
	if e.conn == nil {
		if e.conn, err = e.dial(ctx, "tcp", e.addr); err != nil {
			return err
		}
	}
	if d, ok := ctx.Deadline(); ok {
		if err := e.conn.SetDeadline(d); err != nil {
			return err
		}
	}
	const line = "*1 what goes out comes back\n"
	if _, err := io.WriteString(e.conn, line); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	back := make([]byte, len(line))
	if _, err := io.ReadFull(e.conn, back); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if string(back) != line {
		return fmt.Errorf("received %q", back)
	}
	return nil
}
