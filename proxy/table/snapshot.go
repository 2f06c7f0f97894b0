package table

import (
	"net/netip"
	"regexp"
	"time"
)

// Snapshot is one immutable version of the tables. All of it may be read from
// any goroutine and none of it may be written.
type Snapshot struct {
	// Version is Input.Version.
	Version string
	// Services and Backends are sorted by name; an element's Index is its place.
	Services []*Service
	Backends []*Backend

	byOrigin map[netip.AddrPort]*Service
	regexps  map[string]*regexp.Regexp // by expression, for the next Build
}

// Service returns what origin means, or nil for an unknown origin. An IPv4
// address mapped into IPv6 is the same origin as the IPv4 address.
func (s *Snapshot) Service(origin netip.AddrPort) *Service {
	return s.byOrigin[plain(origin)]
}

// plain takes the IPv4-in-IPv6 form off an address, so that an AF_INET6
// socket's view of an origin finds the same service.
func plain(a netip.AddrPort) netip.AddrPort {
	if a.Addr().Is4In6() {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	return a
}

// Service is what one or more origins mean.
type Service struct {
	// Name is "namespace/name:port"; Namespace is the part before the slash,
	// or empty when the source names its services otherwise.
	Name, Namespace string
	// Index is dense in this snapshot: Snapshot.Services[Index] is this one.
	Index    int
	Origins  []netip.AddrPort // sorted
	Protocol Protocol
	Stance   Stance
	// Backend serves opaque and TCP connections, and requests when Rules is
	// nil. Nil: the service has rules and nothing else.
	Backend *Backend
	// Rules are tried in order. Nil: no route is attached.
	Rules []*Rule
	// Default forwards to Backend with every default filled in. It is nil when
	// routes are attached (a request that none of them matches is a 404).
	Default *Rule
	// Paths finds the rules that a path may match; nil where a scan of Rules
	// is cheaper.
	Paths *PathIndex
}

// Rule is one match with the action for it.
type Rule struct {
	// Name is the metric label route. Several rules may share a name: the
	// matches of one rule of an HTTPRoute are alternatives. "default" is the
	// name of Service.Default.
	Name   string
	Match  Match
	Action Action
}

// Match is a compiled conjunction: everything that is set must hold.
type Match struct {
	PathKind PathKind
	// Path is compared with the request's path byte by byte, percent-encoding
	// as it came. A PathPrefix has lost its trailing slashes ("/" is "").
	Path string
	// PathRegexp must match the whole path; nil unless PathKind is PathRegexp.
	PathRegexp *regexp.Regexp
	// Method is compared as it is; "" matches all.
	Method string
	// Headers has lower-case names; Query has names as given.
	Headers, Query []ValueTest
}

// ValueTest compares one header or query parameter.
type ValueTest struct {
	Name  string
	Kind  ValueKind
	Value string
	// Regexp must match the whole value; nil unless Kind is ValueRegexp.
	Regexp *regexp.Regexp
	// Invert makes the test hold where it would not. A value that is absent
	// matches nothing, so an inverted test holds for it.
	Invert bool
}

// Action is what is done with a request: exactly one of Forward, Redirect and
// Direct is set.
type Action struct {
	Forward         *Forward
	Redirect        *Redirect
	Direct          *Direct
	RequestHeaders  HeaderEdits
	ResponseHeaders HeaderEdits
}

// HeaderEdits are header changes, applied in this order: each Set, each Add,
// each Remove (Gateway API HTTPHeaderFilter).
type HeaderEdits struct {
	Set, Add []HeaderLine
	// Remove has lower-case names.
	Remove []string
}

// Empty reports whether there is nothing to change.
func (e *HeaderEdits) Empty() bool {
	return len(e.Set) == 0 && len(e.Add) == 0 && len(e.Remove) == 0
}

// HeaderLine is a header to write: Name as the policy spells it, Lower for
// comparing (RFC 9110 5.1).
type HeaderLine struct{ Name, Lower, Value string }

// Forward sends a request to one of several backends.
type Forward struct {
	// Shares is in the order of the policy; shares of weight 0 are kept for
	// the dump and never picked.
	Shares []Share
	// Rewrite is nil when target and host stay as they came.
	Rewrite *Rewrite
	// RequestTimeout bounds the whole request, AttemptTimeout one attempt up
	// to the response's head. 0: none.
	RequestTimeout, AttemptTimeout time.Duration
	// Retry is never nil.
	Retry *Retry

	total uint64 // sum of the shares' weights
}

// Share is one backend's part of the traffic.
type Share struct {
	// Backend is nil when it is missing or unusable: the answer is 500.
	Backend *Backend
	// Name is the backend's name as the policy gives it, also when Backend is nil.
	Name   string
	Weight uint32
	// RequestHeaders and ResponseHeaders are applied after the rule's own.
	RequestHeaders, ResponseHeaders HeaderEdits

	below uint64 // sum of the weights up to and including this one
}

// Pick returns the share that random, uniform over all 64-bit values, falls
// into, or nil when no share has weight: the answer is 500 then.
func (f *Forward) Pick(random uint64) *Share {
	if f.total == 0 {
		return nil
	}
	at := scale(random, f.total)
	for i := range f.Shares {
		if at < f.Shares[i].below {
			return &f.Shares[i]
		}
	}
	return nil // unreachable: below of the last share is total
}

// Rewrite changes target and host; its fields are RewriteInput's.
type Rewrite RewriteInput

// Redirect answers with a redirect; its fields are RedirectInput's.
type Redirect RedirectInput

// Direct answers at once; its fields are DirectInput's.
type Direct DirectInput

// Retry says what is tried again. It has the shape of proxy/retry.Policy, so
// that (*retry.Policy)(r) is the same thing without a copy.
type Retry struct {
	Attempts                  uint32
	Codes                     []uint16 // sorted
	OnConnectFailure, OnReset bool
	Backoff, MaxBackoff       time.Duration
}

// Backend is a named set of endpoints, every default filled in.
type Backend struct {
	Name string
	// Index is dense in this snapshot: Snapshot.Backends[Index] is this one.
	Index int
	// Endpoints is sorted by address, without duplicates; weights are at least 1.
	Endpoints      []EndpointInput
	Balance        Balance
	Breaker        Breaker
	Budget         Budget
	ConnectTimeout time.Duration
}

// Breaker configures the circuit breaker of each endpoint. It has the shape
// of proxy/breaker.Config.
type Breaker struct {
	Disabled                  bool
	Consecutive               uint32
	BaseEjection, MaxEjection time.Duration
}

// Budget bounds retries. It has the shape of proxy/retry.BudgetConfig.
type Budget struct {
	Percent        float64
	MinConcurrency uint32
}
