package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// start runs the ports and returns their base URLs.
func start(t *testing.T, change func(*Config)) (admin, metrics string) {
	t.Helper()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "culvert_test_total", Help: "x"})
	registry.MustRegister(counter)
	cfg := Config{Admin: listen(), Metrics: listen(), Gatherer: registry, Level: &slog.LevelVar{},
		Ready: func(context.Context) error { return nil }, Log: slog.New(slog.DiscardHandler),
		Pages: []Page{
			{"table", "services", func() (any, error) { return map[string]int{"b": 2, "a": 1}, nil }},
			{"broken", "fails", func() (any, error) { return nil, errors.New("no map") }},
		}}
	change(&cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return "http://" + cfg.Admin.Addr().String(), "http://" + cfg.Metrics.Addr().String()
}

func ask(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestPages(t *testing.T) {
	admin, metrics := start(t, func(*Config) {})
	cases := []struct {
		method, url, body string
		status            int
		want              string
	}{
		{"GET", admin + "/healthz", "", 200, "ok"},
		{"GET", admin + "/readyz", "", 200, "ready"},
		{"GET", admin + "/debug", "", 200, "/debug/table"},
		{"GET", admin + "/debug/table", "", 200, "{\n  \"a\": 1,\n  \"b\": 2\n}\n"},
		{"GET", admin + "/debug/broken", "", 500, "dump broken: no map"},
		{"GET", admin + "/debug/nothing", "", 404, "/debug lists"},
		{"GET", admin + "/nothing", "", 404, "/debug lists"},
		{"GET", admin + "/metrics", "", 200, "culvert_test_total 0"},
		{"GET", metrics + "/metrics", "", 200, "culvert_test_total 0"},
		{"GET", metrics + "/debug/table", "", 404, ""},
		{"GET", metrics + "/debug/pprof/", "", 404, ""},
		{"GET", admin + "/debug/pprof/cmdline", "", 200, ""},
		{"GET", admin + "/debug/log", "", 200, "info"},
		{"PUT", admin + "/debug/log", "debug", 200, "debug"},
		{"PUT", admin + "/debug/log", "loud", 400, "debug, info, warn and error are levels"},
		{"GET", admin + "/debug/log", "", 200, "debug"},
	}
	for _, c := range cases {
		status, text := ask(t, c.method, c.url, c.body)
		if status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.url, status, text, c.status, c.want)
		}
	}
}

func TestNotReadySaysWhy(t *testing.T) {
	admin, _ := start(t, func(c *Config) {
		c.Ready = func(context.Context) error { return errors.New("loop 1 does not answer") }
	})
	if status, text := ask(t, "GET", admin+"/readyz", ""); status != 503 || text != "not ready: loop 1 does not answer\n" {
		t.Fatalf("%d %q", status, text)
	}
}
