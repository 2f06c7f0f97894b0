// Package peer has the servers and clients that tests, the bench and the demo
// put into pods: real programs on real sockets, with faults on demand.
//
// It is a library, and the binary test/peer/culvert-peer for use inside pods.
// It must not know Culvert. Servers may be driven from any goroutine.
package peer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ServedBy is the response header that names the server that answered.
const ServedBy = "X-Served-By"

// Server is an HTTP/1.1 server. What it answers is chosen by path:
//
//	/bytes?n=N    N bytes that Pattern makes, hash in the trailer X-SHA256 when chunked=1
//	/body         the request's body, streamed back as it comes
//	/upgrade      101, then echoes bytes (the request must ask for an upgrade)
//	/health       200 "ok", whatever the faults
//	anything else an Echo as JSON, after the body was read
//
// Query parameters change one answer: status=418, delay=10ms, chunked=1,
// early=1 (answer before the body is read), hint=1 (103 first), close=1,
// reset=1, truncate=1, header=Name:Value (repeatable).
type Server struct {
	// Name is sent in every answer's X-Served-By.
	Name string

	faults faultState
	// live counters
	requests, failures, connections atomic.Int64
	mu                              sync.Mutex
	http                            *http.Server // guarded by mu
}

// Echo is what a server saw of a request.
type Echo struct {
	Server  string      `json:"server"`
	Method  string      `json:"method"`
	Target  string      `json:"target"`
	Host    string      `json:"host"`
	Header  http.Header `json:"header"`
	Trailer http.Header `json:"trailer,omitempty"`
	// Remote is the address that the connection came from, Local the address
	// that it reached.
	Remote string `json:"remote"`
	Local  string `json:"local"`
	// Length is the request's Content-Length; -1: chunked.
	Length    int64  `json:"length"`
	BodyBytes int64  `json:"bodyBytes"`
	BodyHash  string `json:"bodyHash"` // SHA-256, hex
	BodyError string `json:"bodyError,omitempty"`
}

// Stats are a server's counters since it started.
type Stats struct {
	Server      string `json:"server"`
	Requests    int64  `json:"requests"`
	Failures    int64  `json:"failures"` // answered with a fault, of any kind
	Connections int64  `json:"connections"`
	Faults      Faults `json:"faults"`
}

// SetFaults changes the faults; counters in them start anew.
func (s *Server) SetFaults(f Faults) { s.faults.set(f) }

// Stats reads the counters.
func (s *Server) Stats() Stats {
	return Stats{Server: s.Name, Requests: s.requests.Load(), Failures: s.failures.Load(),
		Connections: s.connections.Load(), Faults: s.faults.get()}
}

// Serve accepts from l until Close. It returns nil after Close.
func (s *Server) Serve(l net.Listener) error {
	srv := &http.Server{
		Handler:     s,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { s.connections.Add(1); return ctx },
		ErrorLog:    nil,
	}
	s.mu.Lock()
	s.http = srv
	s.mu.Unlock()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve http: %w", err)
	}
	return nil
}

// Close ends Serve and every connection.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http == nil {
		return nil
	}
	return s.http.Close()
}

// Admin is the handler of a server's admin port: GET /stats, PUT /faults
// with Faults as JSON, GET /faults.
func (s *Server) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, 200, s.Stats()) })
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, 200, s.faults.get()) })
	mux.HandleFunc("PUT /faults", func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		f, err := ParseFaults(string(text))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.SetFaults(f)
	})
	return mux
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(ServedBy, s.Name)
	if r.URL.Path == "/health" {
		fmt.Fprint(w, "ok")
		return
	}
	s.requests.Add(1)
	v := s.faults.next()
	q := r.URL.Query()
	if d, err := time.ParseDuration(q.Get("delay")); err == nil {
		v.delay += d
	}
	v.reset = v.reset || q.Has("reset")
	v.closed = v.closed || q.Has("close")
	v.trim = v.trim || q.Has("truncate")
	if !pause(r.Context(), v.delay) {
		return
	}
	if v.reset || v.closed || v.trim || v.status != 0 {
		s.failures.Add(1)
	}
	switch {
	case v.reset, v.closed:
		hangUp(w, v.reset)
	case v.trim:
		truncate(w)
	case v.status != 0:
		writeJSON(w, v.status, map[string]string{"server": s.Name, "fault": "status"})
	default:
		s.answer(w, r)
	}
}

// answer is what a healthy server says.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for _, h := range q["header"] {
		name, value, _ := strings.Cut(h, ":")
		w.Header().Add(name, value)
	}
	if s.faults.get().NoKeepAlive {
		w.Header().Set("Connection", "close")
	}
	if q.Has("hint") {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
	}
	status := http.StatusOK
	if v, err := strconv.Atoi(q.Get("status")); err == nil {
		status = v
	}
	switch {
	case q.Has("early"):
		writeJSON(w, status, map[string]string{"server": s.Name, "early": "true"})
	case r.URL.Path == "/bytes":
		writeBytes(w, r, status)
	case r.URL.Path == "/body":
		streamBack(w, r)
	case r.URL.Path == "/upgrade":
		upgrade(w, r)
	default:
		writeJSON(w, status, s.echo(r))
	}
}

// echo reads the body and says what came.
func (s *Server) echo(r *http.Request) Echo {
	e := Echo{Server: s.Name, Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header,
		Remote: r.RemoteAddr, Length: r.ContentLength}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		e.Local = a.String()
	}
	hash := sha256.New()
	n, err := io.Copy(hash, r.Body)
	e.BodyBytes, e.BodyHash, e.Trailer = n, hex.EncodeToString(hash.Sum(nil)), r.Trailer
	if err != nil {
		e.BodyError = err.Error()
	}
	return e
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// pause waits; false when the client went away meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
