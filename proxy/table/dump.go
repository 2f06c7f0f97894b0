package table

import (
	"net/netip"
	"time"
)

// Dump is a snapshot in a form for /debug: sorted, plain, the same bytes of
// JSON for the same policy. Durations are Go's notation.
type Dump struct {
	Version  string        `json:"version"`
	Services []ServiceDump `json:"services"`
	Backends []BackendDump `json:"backends"`
}

// ServiceDump is one service.
type ServiceDump struct {
	Name     string           `json:"name"`
	Origins  []netip.AddrPort `json:"origins"`
	Protocol string           `json:"protocol"`
	Stance   string           `json:"stance"`
	Backend  string           `json:"backend,omitempty"`
	// Routed: routes are attached, so a request that no rule matches is a 404.
	Routed bool       `json:"routed"`
	Rules  []RuleDump `json:"rules,omitempty"`
}

// RuleDump is one rule, in the order of matching.
type RuleDump struct {
	Name            string       `json:"name"`
	Match           MatchDump    `json:"match"`
	Forward         *ForwardDump `json:"forward,omitempty"`
	Redirect        *Redirect    `json:"redirect,omitempty"`
	Direct          *Direct      `json:"direct,omitempty"`
	RequestHeaders  *HeadersDump `json:"request_headers,omitempty"`
	ResponseHeaders *HeadersDump `json:"response_headers,omitempty"`
}

// HeadersDump is HeaderEdits; Set and Add are lines, "name: value".
type HeadersDump struct {
	Set    []string `json:"set,omitempty"`
	Add    []string `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// MatchDump is a match; kinds are words.
type MatchDump struct {
	PathKind string     `json:"path_kind"`
	Path     string     `json:"path,omitempty"`
	Method   string     `json:"method,omitempty"`
	Headers  []TestDump `json:"headers,omitempty"`
	Query    []TestDump `json:"query,omitempty"`
}

// TestDump is one test of a header or parameter.
type TestDump struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Value  string `json:"value,omitempty"`
	Invert bool   `json:"invert,omitempty"`
}

// ForwardDump is a Forward.
type ForwardDump struct {
	Shares         []ShareDump `json:"shares"`
	Rewrite        *Rewrite    `json:"rewrite,omitempty"`
	RequestTimeout string      `json:"request_timeout,omitempty"`
	AttemptTimeout string      `json:"attempt_timeout,omitempty"`
	Retry          RetryDump   `json:"retry"`
}

// ShareDump is a Share. Missing: its part is answered 500.
type ShareDump struct {
	Backend         string       `json:"backend"`
	Weight          uint32       `json:"weight"`
	Missing         bool         `json:"missing,omitempty"`
	RequestHeaders  *HeadersDump `json:"request_headers,omitempty"`
	ResponseHeaders *HeadersDump `json:"response_headers,omitempty"`
}

// RetryDump is a Retry.
type RetryDump struct {
	Attempts         uint32   `json:"attempts"`
	Codes            []uint16 `json:"codes,omitempty"`
	OnConnectFailure bool     `json:"on_connect_failure"`
	OnReset          bool     `json:"on_reset"`
	Backoff          string   `json:"backoff"`
	MaxBackoff       string   `json:"max_backoff"`
}

// BackendDump is one backend's configuration; what lives is in
// upstream.Registry.Dump.
type BackendDump struct {
	Name           string  `json:"name"`
	Endpoints      int     `json:"endpoints"`
	Balance        string  `json:"balance"`
	ConnectTimeout string  `json:"connect_timeout"`
	BreakerOff     bool    `json:"breaker_disabled,omitempty"`
	Consecutive    uint32  `json:"consecutive_failures"`
	BaseEjection   string  `json:"base_ejection"`
	MaxEjection    string  `json:"max_ejection"`
	RetryPercent   float64 `json:"retry_percent"`
	RetryMin       uint32  `json:"retry_min_concurrency"`
}

// Dump returns the whole snapshot. It allocates; it is for people.
func (s *Snapshot) Dump() Dump {
	d := Dump{Version: s.Version, Services: make([]ServiceDump, len(s.Services)), Backends: make([]BackendDump, len(s.Backends))}
	for i, service := range s.Services {
		d.Services[i] = service.dump()
	}
	for i, b := range s.Backends {
		d.Backends[i] = BackendDump{
			Name: b.Name, Endpoints: len(b.Endpoints), Balance: b.Balance.String(),
			ConnectTimeout: b.ConnectTimeout.String(), BreakerOff: b.Breaker.Disabled,
			Consecutive: b.Breaker.Consecutive, BaseEjection: b.Breaker.BaseEjection.String(),
			MaxEjection: b.Breaker.MaxEjection.String(), RetryPercent: b.Budget.Percent,
			RetryMin: b.Budget.MinConcurrency,
		}
	}
	return d
}

func (s *Service) dump() ServiceDump {
	d := ServiceDump{
		Name: s.Name, Origins: s.Origins, Protocol: s.Protocol.String(), Stance: s.Stance.String(),
		Routed: s.Rules != nil,
	}
	if s.Backend != nil {
		d.Backend = s.Backend.Name
	}
	for _, r := range s.Rules {
		d.Rules = append(d.Rules, r.dump())
	}
	return d
}

func (r *Rule) dump() RuleDump {
	d := RuleDump{
		Name: r.Name,
		Match: MatchDump{
			PathKind: r.Match.PathKind.String(), Path: r.Match.Path, Method: r.Match.Method,
			Headers: dumpTests(r.Match.Headers), Query: dumpTests(r.Match.Query),
		},
		Redirect: r.Action.Redirect, Direct: r.Action.Direct,
		RequestHeaders: r.Action.RequestHeaders.dump(), ResponseHeaders: r.Action.ResponseHeaders.dump(),
	}
	if r.Match.PathKind == PathPrefix && d.Match.Path == "" {
		d.Match.Path = "/"
	}
	if f := r.Action.Forward; f != nil {
		d.Forward = f.dump()
	}
	return d
}

func (f *Forward) dump() *ForwardDump {
	d := &ForwardDump{
		Rewrite:        f.Rewrite,
		RequestTimeout: orEmpty(f.RequestTimeout), AttemptTimeout: orEmpty(f.AttemptTimeout),
		Retry: RetryDump{
			Attempts: f.Retry.Attempts, Codes: f.Retry.Codes,
			OnConnectFailure: f.Retry.OnConnectFailure, OnReset: f.Retry.OnReset,
			Backoff: f.Retry.Backoff.String(), MaxBackoff: f.Retry.MaxBackoff.String(),
		},
	}
	for i := range f.Shares {
		s := &f.Shares[i]
		d.Shares = append(d.Shares, ShareDump{
			Backend: s.Name, Weight: s.Weight, Missing: s.Backend == nil,
			RequestHeaders: s.RequestHeaders.dump(), ResponseHeaders: s.ResponseHeaders.dump(),
		})
	}
	return d
}

func dumpTests(tests []ValueTest) []TestDump {
	var out []TestDump
	for i := range tests {
		t := &tests[i]
		out = append(out, TestDump{t.Name, t.Kind.String(), t.Value, t.Invert})
	}
	return out
}

// dump is nil where nothing is changed.
func (e *HeaderEdits) dump() *HeadersDump {
	if e.Empty() {
		return nil
	}
	return &HeadersDump{Set: lines(e.Set), Add: lines(e.Add), Remove: e.Remove}
}

func lines(of []HeaderLine) []string {
	var out []string
	for _, h := range of {
		out = append(out, h.Name+": "+h.Value)
	}
	return out
}

func orEmpty(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
