package peer

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Faults are what a server does wrong on purpose. The zero value is a healthy
// server. They are set at the start, by Server.SetFaults, or through the admin
// port; a request's own query parameters (see Server) come on top.
type Faults struct {
	// Delay is waited before each answer.
	Delay Duration `json:"delay,omitempty"`
	// FailShare of the requests (0..1) are answered with FailStatus (0: 503).
	FailShare  float64 `json:"failShare,omitempty"`
	FailStatus int     `json:"failStatus,omitempty"`
	// FailFirst requests are answered with FailStatus, counted since the
	// faults were set; then the server is healthy.
	FailFirst int64 `json:"failFirst,omitempty"`
	// FlapEvery turns the server bad and good in turn, every so many requests;
	// FlapPeriod does so by time: bad in the first half of each period.
	FlapEvery  int64    `json:"flapEvery,omitempty"`
	FlapPeriod Duration `json:"flapPeriod,omitempty"`
	// ResetShare of the requests are answered with a TCP reset, CloseShare by
	// closing the connection without an answer.
	ResetShare float64 `json:"resetShare,omitempty"`
	CloseShare float64 `json:"closeShare,omitempty"`
	// Truncate announces a body (Content-Length) that is longer than what is
	// sent before the connection closes.
	Truncate bool `json:"truncate,omitempty"`
	// NoKeepAlive closes the connection after each answer.
	NoKeepAlive bool `json:"noKeepAlive,omitempty"`
}

// Duration is a time.Duration that JSON writes as "10ms".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("parse duration: %w", err)
	}
	*d = Duration(v)
	return nil
}

// ParseFaults reads faults from JSON; "" is a healthy server.
func ParseFaults(text string) (Faults, error) {
	var f Faults
	if text == "" {
		return f, nil
	}
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return f, fmt.Errorf("parse faults: %w", err)
	}
	return f, nil
}

// verdict is what faults say about one request.
type verdict struct {
	delay               time.Duration
	status              int // 0: answer normally
	reset, closed, trim bool
}

// faultState counts the requests under the present faults.
type faultState struct {
	mu     sync.Mutex
	faults Faults
	since  time.Time
	count  int64
}

func (s *faultState) set(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.since, s.count = f, time.Now(), 0
}

func (s *faultState) get() Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

// next decides about the next request.
func (s *faultState) next() verdict {
	s.mu.Lock()
	f, n, age := s.faults, s.count, time.Since(s.since)
	s.count++
	s.mu.Unlock()
	status := f.FailStatus
	if status == 0 {
		status = 503
	}
	v := verdict{delay: time.Duration(f.Delay), trim: f.Truncate}
	switch draw := rand.Float64(); {
	case draw < f.ResetShare:
		v.reset = true
	case draw < f.ResetShare+f.CloseShare:
		v.closed = true
	case draw < f.ResetShare+f.CloseShare+f.FailShare,
		n < f.FailFirst,
		f.FlapEvery > 0 && n/f.FlapEvery%2 == 0,
		f.FlapPeriod > 0 && age%time.Duration(f.FlapPeriod) < time.Duration(f.FlapPeriod)/2:
		v.status = status
	}
	return v
}
