package telemetry

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
)

// traffic is one connection with one request, as the server would report it.
type traffic struct {
	conn    ConnReport
	request Report
	attempt Attempt
}

func newTraffic() *traffic {
	service := &table.Service{Name: "shop/cart:80"}
	backend := &table.Backend{Name: "shop/cart-v1:8080"}
	t := &traffic{}
	t.conn = ConnReport{Source: &Source{ID: 1, Label: "shop/web-0"}, Service: service, HTTP: true}
	t.request = Report{
		Conn: &t.conn, Service: service, Rule: &table.Rule{Name: "shop/cart/0"}, Backend: backend,
		End: int64(3 * time.Millisecond), Status: 200, Attempts: 1, BytesIn: 100, BytesOut: 2000,
	}
	t.attempt = Attempt{Service: service, Backend: backend, Reused: true}
	return t
}

func (t *traffic) run(r *Recorder) {
	r.ConnOpened(&t.conn)
	r.RequestBegan(&t.request)
	r.AttemptEnded(&t.attempt)
	r.RequestEnded(&t.request)
	r.ConnEnded(&t.conn)
}

func TestCollectMergesLoops(t *testing.T) {
	registry := NewRegistry(2, nil)
	for i := range registry.Len() {
		newTraffic().run(registry.Recorder(i))
	}
	live := newTraffic()
	live.conn.HTTP = false
	registry.Recorder(1).ConnOpened(&live.conn)
	live.conn.Flow().AddIn(7)
	live.conn.Flow().AddOut(9)
	unknown := ConnReport{Source: live.conn.Source, Reason: UnknownOrigin}
	registry.Recorder(0).ConnEnded(&unknown)
	retried := newTraffic()
	retried.attempt.Outcome, retried.attempt.Retry = OutcomeStale, StaleConnection
	registry.Recorder(0).AttemptEnded(&retried.attempt)

	want := `
proxy_attempts_total{backend="shop/cart-v1:8080",outcome="ok",service="shop/cart:80"} 2
proxy_attempts_total{backend="shop/cart-v1:8080",outcome="stale",service="shop/cart:80"} 1
proxy_bytes_total{direction="in",service="shop/cart:80",source="shop/web-0"} 207
proxy_bytes_total{direction="out",service="shop/cart:80",source="shop/web-0"} 4009
proxy_concurrent_requests{service="shop/cart:80"} 0
proxy_connection_failures_total{reason="unknown_origin",service="",source=""} 1
proxy_connections_open{protocol="http1",service="shop/cart:80",source="shop/web-0"} 0
proxy_connections_open{protocol="tcp",service="shop/cart:80",source="shop/web-0"} 1
proxy_connections_total{protocol="http1",service="shop/cart:80",source="shop/web-0"} 2
proxy_request_duration_seconds_bucket{route="shop/cart/0",service="shop/cart:80",le="0.0025"} 0
proxy_request_duration_seconds_bucket{route="shop/cart/0",service="shop/cart:80",le="0.005"} 2
proxy_request_duration_seconds_bucket{route="shop/cart/0",service="shop/cart:80",le="+Inf"} 2
proxy_request_duration_seconds_sum{route="shop/cart/0",service="shop/cart:80"} 0.006
proxy_requests_total{backend="shop/cart-v1:8080",reason="none",route="shop/cart/0",service="shop/cart:80",source="shop/web-0",status="200"} 2
proxy_retries_total{backend="shop/cart-v1:8080",reason="stale_connection",service="shop/cart:80"} 1`
	text := exposition(t, registry)
	for _, line := range strings.Split(strings.TrimSpace(want), "\n") {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("missing %s", line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	if problems, err := testutil.GatherAndLint(gatherer(t, registry)); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

func gatherer(t *testing.T, c prometheus.Collector) prometheus.Gatherer {
	t.Helper()
	g := prometheus.NewPedanticRegistry()
	if err := g.Register(c); err != nil {
		t.Fatal(err)
	}
	return g
}

func exposition(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	families, err := gatherer(t, c).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out, binary bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&out, f); err != nil {
			t.Fatal(err)
		}
		if err := expfmt.NewEncoder(&binary, expfmt.NewFormat(expfmt.TypeProtoDelim)).Encode(f); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func TestCountingAllocatesNothing(t *testing.T) {
	recorder := NewRegistry(1, nil).Recorder(0)
	one := newTraffic()
	if n := testing.AllocsPerRun(1000, func() { one.run(recorder) }); n != 0 {
		t.Errorf("%v allocations a connection with a request, want 0", n)
	}
}

func TestRetainForgetsWhatIsGone(t *testing.T) {
	registry := NewRegistry(1, nil)
	recorder := registry.Recorder(0)
	one := newTraffic()
	one.run(recorder)
	gone := func(string, string) bool { return false }
	recorder.Retain(int64(retention), gone)
	if text := exposition(t, registry); !strings.Contains(text, "proxy_requests_total{") {
		t.Error("a series was dropped before its last value could be scraped")
	}
	recorder.Retain(int64(2*retention), gone)
	if text := exposition(t, registry); strings.Contains(text, "shop/cart") {
		t.Errorf("series are left:\n%s", text)
	}
	one.run(recorder)
	if text := exposition(t, registry); !strings.Contains(text, "proxy_requests_total{") {
		t.Error("a forgotten series did not come back")
	}
}

func TestRetainKeepsOpenConnections(t *testing.T) {
	registry := NewRegistry(1, nil)
	recorder := registry.Recorder(0)
	one := newTraffic()
	recorder.ConnOpened(&one.conn)
	recorder.Retain(int64(2*retention), func(string, string) bool { return false })
	if text := exposition(t, registry); !strings.Contains(text, "proxy_connections_open{") {
		t.Error("an open connection was forgotten")
	}
}

func TestAccessLines(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	one := newTraffic()
	one.request.Method, one.request.Path = []byte("GET"), []byte("/cart")
	registry := NewRegistry(1, log)
	one.run(registry.Recorder(0))
	registry.written(t)
	for _, want := range []string{
		"msg=request source=shop/web-0 service=shop/cart:80 method=GET path=/cart status=200 reason=none duration=3ms",
		"msg=connection source=shop/web-0",
		"requests=1 bytes_in=100 bytes_out=2000",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// written has what is queued written.
func (r *Registry) written(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err != nil {
		t.Error(err)
	}
}

// TestSlowLog: whoever counts never waits for the log; what is too much is dropped
// and counted.
func TestSlowLog(t *testing.T) {
	reader, writer := io.Pipe() // that nobody reads
	log := slog.New(slog.NewTextHandler(writer, &slog.HandlerOptions{Level: slog.LevelDebug}))
	registry := NewRegistry(1, log)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- registry.Run(ctx) }()
	for range linesQueued + 100 {
		registry.Note(slog.LevelError, "again")
	}
	if n := registry.lines.dropped.Load(); n < 99 || n > 100 { // one may be in the log's hands
		t.Errorf("%d lines were dropped", n)
	}
	if text := exposition(t, registry); !strings.Contains(text, "proxy_log_lines_dropped_total ") {
		t.Errorf("no count of it in\n%s", text)
	}
	_ = reader.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func BenchmarkRequest(b *testing.B) {
	recorder := NewRegistry(1, nil).Recorder(0)
	one := newTraffic()
	recorder.ConnOpened(&one.conn)
	b.ReportAllocs()
	for b.Loop() {
		recorder.RequestBegan(&one.request)
		recorder.AttemptEnded(&one.attempt)
		recorder.RequestEnded(&one.request)
	}
}
