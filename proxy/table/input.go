package table

import (
	"net/netip"
	"time"
)

// Input is one whole configuration, as plain values, before it is checked.
// A source (node/xds, a test) fills it; Build turns it into a Snapshot or
// refuses it whole. Nothing in an Input is shared with the Snapshot that is
// built from it, so the source may reuse it.
type Input struct {
	// Version names this configuration in logs, metrics and /debug. Opaque.
	Version  string
	Services []ServiceInput
	Backends []BackendInput
	// Before is the snapshot that this one follows, or nil: its regular expressions
	// need not be compiled again.
	Before *Snapshot
}

// Protocol is what a service's port speaks.
type Protocol uint8

const (
	// Detect: the port declares nothing; the first bytes decide.
	Detect Protocol = iota
	// HTTP1 is cleartext HTTP/1.1 (RFC 9112).
	HTTP1
	// Opaque is TCP that capture balances in the kernel; the proxy never sees it.
	Opaque
	// TCP is bytes both ways through the proxy.
	TCP
)

// Stance is what capture does for a service while the proxy is not there.
type Stance uint8

const (
	// Open connects directly to the origin that the client dialled.
	Open Stance = iota
	// Closed refuses the connection.
	Closed
)

// ServiceInput is what one or more origins mean.
type ServiceInput struct {
	// Name is "namespace/name:port"; unique; the value of the metric label service.
	Name string
	// Origins are the addresses and ports that clients dial (VIPs). An origin
	// belongs to one service only.
	Origins  []netip.AddrPort
	Protocol Protocol
	Stance   Stance
	// Backend names the BackendInput that serves requests when Rules is nil,
	// that serves opaque and TCP connections, and that capture balances over.
	Backend string
	// Rules are tried in order, the first that matches wins; the source has
	// sorted them (Gateway API precedence). Nil: no route is attached, all goes
	// to Backend. Not nil and none matches: 404.
	Rules []RuleInput
}

// RuleInput is one match with the action for it.
type RuleInput struct {
	// Name is "namespace/route/rule", the value of the metric label route.
	Name   string
	Match  MatchInput
	Action ActionInput
}

// PathKind says how a path value is compared.
type PathKind uint8

const (
	// PathAny matches every path.
	PathAny PathKind = iota
	// PathExact compares the whole path.
	PathExact
	// PathPrefix compares by segment: /a matches /a and /a/b, not /ab.
	PathPrefix
	// PathStartsWith compares bytes: /a matches /ab too.
	PathStartsWith
	// PathRegexp is an RE2 expression that must match the whole path.
	PathRegexp
)

// ValueKind says how a header's or a query parameter's value is compared.
type ValueKind uint8

const (
	// ValueExact compares the whole value.
	ValueExact ValueKind = iota
	// ValueRegexp is an RE2 expression that must match the whole value.
	ValueRegexp
	// ValuePresent only asks that the name is there.
	ValuePresent
)

// MatchInput is a conjunction: all that is set must hold.
type MatchInput struct {
	PathKind PathKind
	Path     string
	// Method is compared as it is (RFC 9110 9.1: case-sensitive); "" matches all.
	Method  string
	Headers []ValueMatch
	Query   []ValueMatch
}

// ValueMatch compares one header (Name in any case; RFC 9110 5.1) or one query
// parameter (Name exact; the first occurrence counts).
type ValueMatch struct {
	Name  string
	Kind  ValueKind
	Value string
	// Invert makes the match hold where it would not.
	Invert bool
}

// ActionInput is what is done with a request. Exactly one of Forward, Redirect
// and Direct is set.
type ActionInput struct {
	Forward  *ForwardInput
	Redirect *RedirectInput
	Direct   *DirectInput
	// RequestHeaders change the request before it is forwarded, ResponseHeaders
	// the response before it is given to the client, our own ones included.
	RequestHeaders  HeaderOps
	ResponseHeaders HeaderOps
}

// HeaderOps are header changes, applied as Gateway API's
// HTTPHeaderFilter says: set, then add, then remove.
type HeaderOps struct {
	Set    []HeaderValue
	Add    []HeaderValue
	Remove []string
}

// HeaderValue is one header line.
type HeaderValue struct{ Name, Value string }

// ForwardInput sends a request to one of several backends, chosen by weight.
type ForwardInput struct {
	// Backends with weight 0 get nothing. A name that is not among
	// Input.Backends is a missing backend: its share is answered 500.
	// When all weights are 0 or Backends is empty: 500.
	Backends []WeightedBackend
	Rewrite  *RewriteInput
	// RequestTimeout bounds the whole, from the end of the request's head to the
	// response's last byte; AttemptTimeout bounds each attempt until the
	// response's head. 0: none.
	RequestTimeout time.Duration
	AttemptTimeout time.Duration
	// Retry is nil where only connection faults before a byte was sent are
	// tried again.
	Retry *RetryInput
}

// WeightedBackend is one share of the traffic.
type WeightedBackend struct {
	Backend string
	Weight  uint32
	// Invalid is a reference that the source knows to be unusable (kind,
	// permission): its share is answered 500.
	Invalid         bool
	RequestHeaders  HeaderOps
	ResponseHeaders HeaderOps
}

// RewriteInput changes the request's target and host before it is forwarded.
type RewriteInput struct {
	// Host replaces the Host header; "" leaves it.
	Host string `json:"host,omitempty"`
	// Path replaces the whole path (the query stays); "" leaves it.
	Path string `json:"path,omitempty"`
	// Prefix replaces the part of the path that the rule's PathPrefix matched;
	// only with PathPrefix. ReplacePrefix says that Prefix is set ("" and "/"
	// are both valid, GEP-726).
	ReplacePrefix bool   `json:"replace_prefix,omitempty"`
	Prefix        string `json:"prefix,omitempty"`
}

// RetryInput says which answers are tried again.
type RetryInput struct {
	// Attempts is how many retries there may be, beyond the first try.
	Attempts uint32
	// Codes are response statuses that are tried again.
	Codes []uint16
	// OnConnectFailure and OnReset also try again when no connection could be
	// made, or it was lost before the response's first byte.
	OnConnectFailure, OnReset bool
	// Backoff is the least wait and the base of the exponential jitter on top of
	// it; 0: 25 ms. MaxBackoff bounds both together; 0: 10 x Backoff.
	Backoff, MaxBackoff time.Duration
}

// RedirectInput answers with a redirect (Gateway API HTTPRequestRedirectFilter).
// Empty fields keep the request's own value.
type RedirectInput struct {
	Scheme string `json:"scheme,omitempty"`
	Host   string `json:"host,omitempty"`
	// Port 0: the well-known port of Scheme if Scheme is set, else the port
	// that the client dialled.
	Port          uint16 `json:"port,omitempty"`
	Path          string `json:"path,omitempty"`
	ReplacePrefix bool   `json:"replace_prefix,omitempty"`
	Prefix        string `json:"prefix,omitempty"`
	// Status is 301, 302, 303, 307 or 308.
	Status uint16 `json:"status,omitempty"`
}

// DirectInput answers at once.
type DirectInput struct {
	Status uint16 `json:"status,omitempty"`
	Body   string `json:"body,omitempty"`
	// Reason is the typed reason for metrics and the response header.
	Reason string `json:"reason,omitempty"`
}

// BackendInput is a named set of endpoints.
type BackendInput struct {
	// Name is "namespace/name:port"; unique; the metric label backend.
	Name      string
	Endpoints []EndpointInput
	Balance   Balance
	Breaker   BreakerInput
	Budget    BudgetInput
	// ConnectTimeout bounds one connect; 0: 1 s.
	ConnectTimeout time.Duration
}

// Balance names the way an endpoint is chosen.
type Balance uint8

const (
	// RoundRobin is smooth and weighted.
	RoundRobin Balance = iota
	// WeightedRandom draws by weight.
	WeightedRandom
)

// EndpointInput is one address.
type EndpointInput struct {
	Addr netip.AddrPort
	// Weight is relative to the other endpoints'; 0 counts as 1.
	Weight uint32
	// Ready endpoints get new requests. One that is not ready (terminating)
	// keeps what it has, and gets new ones only when no endpoint is ready and
	// Serving is set (KEP-1669).
	Ready, Serving bool
}

// BreakerInput configures the circuit breaker of each endpoint
// (xDS Cluster.outlier_detection). The zero value means the defaults.
type BreakerInput struct {
	Disabled bool
	// Consecutive failures that open it; 0: 5.
	Consecutive uint32
	// BaseEjection is how long it stays open the first time, doubled each time
	// to at most MaxEjection; 0: 1 s and 60 s.
	BaseEjection, MaxEjection time.Duration
}

// BudgetInput bounds retries as a share of the live requests
// (xDS Cluster.circuit_breakers retry_budget). The zero value: 20 %, at least 3.
type BudgetInput struct {
	Percent        float64
	MinConcurrency uint32
}
