package peer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Load sends requests and counts what comes back.
type Load struct {
	URL    string
	Method string      // "": GET, or POST with a body
	Header http.Header // sent with every request; Host sets the host
	// Body is how many bytes of Pattern each request carries; with Verify the
	// server is expected to be a Server, and its hash of the body is checked.
	// Without a body, Verify checks the bytes of /bytes?n= instead.
	Body   int64
	Verify bool
	// Workers send at the same time, on a connection each. 0: 1.
	Workers int
	// Rate is requests per second in all, by the clock and whether or not
	// answers are late (latency then counts from when the request was due).
	// 0: each worker sends as soon as it has its answer.
	Rate float64
	// Duration and Requests end the load, whichever comes first; 0: no bound.
	Duration time.Duration
	Requests int64
	// Timeout of one request; 0: 10 s.
	Timeout time.Duration
	// NewConnection opens one for every request.
	NewConnection bool
	// ReasonHeader is the response header whose values are counted.
	ReasonHeader string
	// Dial opens connections: a pod's Dial. nil: from here.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Progress, if set, is called after every request, from any goroutine.
	Progress func(o Outcome)
}

// Outcome is the end of one request.
type Outcome struct {
	Status  int // 0: no answer
	Server  string
	Reason  string
	Error   string // kind of the fault: "reset", "refused", "timeout", "eof", "corrupt", "other"
	Cause   error
	Latency time.Duration
}

// Result is what a load saw.
type Result struct {
	Requests int64            `json:"requests"`
	OK       int64            `json:"ok"` // 2xx, verified if asked for
	Status   map[int]int64    `json:"status"`
	Server   map[string]int64 `json:"server"` // by X-Served-By
	Reason   map[string]int64 `json:"reason"`
	Errors   map[string]int64 `json:"errors"` // by kind
	// FirstError is an example.
	FirstError string   `json:"firstError,omitempty"`
	Elapsed    Duration `json:"elapsed"`
	P50        Duration `json:"p50"`
	P90        Duration `json:"p90"`
	P99        Duration `json:"p99"`
	Max        Duration `json:"max"`
	latency    Histogram
}

// PerSecond is the requests per second of the whole run.
func (r *Result) PerSecond() float64 {
	return float64(r.Requests) / max(time.Duration(r.Elapsed).Seconds(), 1e-9)
}

func newResult() *Result {
	return &Result{Status: map[int]int64{}, Server: map[string]int64{}, Reason: map[string]int64{}, Errors: map[string]int64{}}
}

func (r *Result) add(o Outcome) {
	r.Requests++
	r.latency.Add(o.Latency)
	if o.Status != 0 {
		r.Status[o.Status]++
		r.Server[o.Server]++
	}
	if o.Reason != "" {
		r.Reason[o.Reason]++
	}
	if o.Error != "" {
		r.Errors[o.Error]++
		if r.FirstError == "" && o.Cause != nil {
			r.FirstError = o.Cause.Error()
		}
	} else if o.Status >= 200 && o.Status < 300 {
		r.OK++
	}
}

func (r *Result) merge(o *Result) {
	r.Requests += o.Requests
	r.OK += o.OK
	for _, pair := range []struct{ to, from map[string]int64 }{{r.Server, o.Server}, {r.Reason, o.Reason}, {r.Errors, o.Errors}} {
		for k, n := range pair.from {
			pair.to[k] += n
		}
	}
	for k, n := range o.Status {
		r.Status[k] += n
	}
	if r.FirstError == "" {
		r.FirstError = o.FirstError
	}
	r.latency.Merge(&o.latency)
}

// Run sends until the load's bounds or until ctx ends, which is no error.
func (l Load) Run(ctx context.Context) (*Result, error) {
	if l.URL == "" {
		return nil, errors.New("run load: no URL")
	}
	l.Workers, l.Timeout = max(l.Workers, 1), orElse(l.Timeout, 10*time.Second)
	if l.Duration > 0 {
		bounded, cancel := context.WithTimeout(ctx, l.Duration)
		defer cancel()
		ctx = bounded
	}
	run := &loadRun{Load: l, start: time.Now(), wantBody: PatternHash(l.Body)}
	results := make([]*Result, l.Workers)
	var wg sync.WaitGroup
	for i := range results {
		results[i] = newResult()
		wg.Go(func() { run.work(ctx, results[i]) })
	}
	wg.Wait()
	sum := newResult()
	for _, r := range results {
		sum.merge(r)
	}
	sum.Elapsed = Duration(time.Since(run.start))
	sum.P50, sum.P90, sum.P99 = Duration(sum.latency.Quantile(0.5)), Duration(sum.latency.Quantile(0.9)), Duration(sum.latency.Quantile(0.99))
	sum.Max = Duration(sum.latency.Max())
	return sum, nil
}

// loadRun is one Run.
type loadRun struct {
	Load
	start    time.Time
	wantBody string
	sent     atomic.Int64
}

// work is one worker: a client with one connection.
func (l *loadRun) work(ctx context.Context, into *Result) {
	transport := &http.Transport{DialContext: l.Dial, MaxIdleConnsPerHost: 1, DisableCompression: true, DisableKeepAlives: l.NewConnection}
	defer transport.CloseIdleConnections()
	for {
		n := l.sent.Add(1) - 1
		if l.Requests > 0 && n >= l.Requests {
			return
		}
		due := time.Now()
		if l.Rate > 0 {
			due = l.start.Add(time.Duration(float64(n) / l.Rate * float64(time.Second)))
			if !pause(ctx, time.Until(due)) {
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		o := l.send(ctx, transport)
		if o.Error != "" && ctx.Err() != nil {
			return // cut off by the end of the load, not by a fault
		}
		o.Latency = time.Since(due)
		into.add(o)
		if l.Progress != nil {
			l.Progress(o)
		}
	}
}

func (l *loadRun) send(ctx context.Context, t *http.Transport) Outcome {
	// The end of the load lets a request finish that is under way.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.Timeout)
	defer cancel()
	var body io.Reader
	method := l.Method
	if l.Body > 0 {
		body = io.LimitReader(&Pattern{}, l.Body)
		method = orElse(method, http.MethodPost)
	}
	req, err := http.NewRequestWithContext(ctx, orElse(method, http.MethodGet), l.URL, body)
	if err != nil {
		return Outcome{Error: "other", Cause: err}
	}
	req.Header = l.Header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Host = req.Header.Get("Host")
	req.ContentLength = l.Body
	if l.Body > 0 {
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(io.LimitReader(&Pattern{}, l.Body)), nil }
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return Outcome{Error: kindOf(err), Cause: err}
	}
	defer resp.Body.Close()
	o := Outcome{Status: resp.StatusCode, Server: resp.Header.Get(ServedBy)}
	if l.ReasonHeader != "" {
		o.Reason = resp.Header.Get(l.ReasonHeader)
	}
	if err := l.check(resp); err != nil {
		o.Error, o.Cause = kindOf(err), err
	}
	return o
}

// errCorrupt says that bytes were not what they should be.
var errCorrupt = errors.New("corrupt body")

// check reads the answer, and verifies it if asked for.
func (l *loadRun) check(resp *http.Response) error {
	if !l.Verify || resp.StatusCode != http.StatusOK {
		_, err := io.Copy(io.Discard, resp.Body)
		return err
	}
	if l.Body == 0 {
		hash := sha256.New()
		n, err := io.Copy(hash, resp.Body)
		if err != nil {
			return err
		}
		if got := hex.EncodeToString(hash.Sum(nil)); got != PatternHash(n) {
			return fmt.Errorf("%w: response of %d bytes", errCorrupt, n)
		}
		return nil
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var e Echo
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&e); err != nil || e.BodyHash != l.wantBody {
		return fmt.Errorf("%w: the server saw %d bytes (%v)", errCorrupt, e.BodyBytes, err)
	}
	return nil
}

// kindOf names the kind of a fault.
func kindOf(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, errCorrupt):
		return "corrupt"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "eof"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return "other"
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
