// Package admin owns the two HTTP ports that people and machines look through:
// the admin port (health, /debug, profiles, log level) and the metrics port. It
// must not know what it shows: it is handed functions and a Gatherer. node calls
// Run once; every function that is handed in must be safe from any goroutine.
//
// The admin port has no authentication and can change the log level and take
// profiles, so it belongs on loopback. Readiness is not a check of this port
// only: it goes through every loop of the data path.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config is what the ports show.
type Config struct {
	// Admin is the admin port, Metrics the metrics port; each may be nil. Run
	// closes them. /metrics is on both.
	Admin, Metrics net.Listener
	Gatherer       prometheus.Gatherer
	// Ready returns nil when the node serves; the error is what /readyz says.
	Ready func(ctx context.Context) error
	// Pages are shown under /debug/.
	Pages []Page
	// Level is read and set at /debug/log; nil: no such page.
	Level *slog.LevelVar
	Log   *slog.Logger
}

// Page is one view of what is live.
type Page struct {
	// Name is the last part of the path, About one line for the index.
	Name, About string
	// Dump returns a value for encoding/json, the same for the same state: the
	// caller sorts lists, encoding/json sorts maps.
	Dump func() (any, error)
}

// readyTimeout bounds one answer of /readyz.
const readyTimeout = 2 * time.Second

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	metrics := promhttp.HandlerFor(cfg.Gatherer, promhttp.HandlerOpts{
		// A collector that fails costs its own series, not the whole scrape.
		ErrorHandling: promhttp.ContinueOnError,
		ErrorLog:      slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn),
	})
	errs := make(chan error, 2)
	ports := 0
	if cfg.Admin != nil {
		ports++
		go func() { errs <- serve(ctx, cfg.Admin, cfg.adminHandler(metrics)) }()
	}
	if cfg.Metrics != nil {
		ports++
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", metrics)
		go func() { errs <- serve(ctx, cfg.Metrics, mux) }()
	}
	var all []error
	for range ports {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// serve answers on one port until ctx ends.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// adminHandler is everything on the admin port.
func (cfg Config) adminHandler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", cfg.readyz)
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /{$}", cfg.index)
	mux.HandleFunc("GET /debug", cfg.index)
	mux.HandleFunc("GET /debug/{$}", cfg.index)
	for _, p := range cfg.Pages {
		mux.HandleFunc("GET /debug/"+p.Name, p.serve)
	}
	if cfg.Level != nil {
		mux.HandleFunc("GET /debug/log", cfg.level)
		mux.HandleFunc("PUT /debug/log", cfg.level)
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		say(w, http.StatusNotFound, "no such page; /debug lists those that there are")
	})
	return mux
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, text+"\n")
}

func (cfg Config) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := cfg.Ready(ctx); err != nil {
		say(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
		return
	}
	say(w, http.StatusOK, "ready")
}

// index lists what there is, one line each.
func (cfg Config) index(w http.ResponseWriter, _ *http.Request) {
	lines := [][2]string{
		{"/healthz", "200 while the process runs"},
		{"/readyz", "200 when a configuration is applied and every loop answers"},
		{"/metrics", "Prometheus metrics"},
		{"/debug/pprof/", "profiles of the Go runtime"},
	}
	if cfg.Level != nil {
		lines = append(lines, [2]string{"/debug/log", "the log level; change it: curl -X PUT -d debug .../debug/log"})
	}
	for _, p := range cfg.Pages {
		lines = append(lines, [2]string{"/debug/" + p.Name, p.About})
	}
	slices.SortFunc(lines, func(x, y [2]string) int { return strings.Compare(x[0], y[0]) })
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%-20s %s\n", l[0], l[1])
	}
	say(w, http.StatusOK, strings.TrimSuffix(b.String(), "\n"))
}

// serve writes one page as indented JSON, so that two of them can be compared
// line by line.
func (p Page) serve(w http.ResponseWriter, _ *http.Request) {
	v, err := p.Dump()
	var body []byte
	if err == nil {
		body, err = json.MarshalIndent(v, "", "  ")
	}
	if err != nil {
		say(w, http.StatusInternalServerError, fmt.Sprintf("dump %s: %v", p.Name, err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(body, '\n'))
}

// level shows the log level, or sets it to the body's.
func (cfg Config) level(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64))
		if err == nil {
			err = cfg.Level.UnmarshalText([]byte(strings.TrimSpace(string(text))))
		}
		if err != nil {
			say(w, http.StatusBadRequest, fmt.Sprintf("set the log level: %v (debug, info, warn and error are levels)", err))
			return
		}
		cfg.Log.Info("log level set", "level", cfg.Level.Level().String())
	}
	say(w, http.StatusOK, strings.ToLower(cfg.Level.Level().String()))
}
