package model

import "time"

// Rule is one match of a route with what is done then.
type Rule struct {
	// Name is "namespace/route/rule".
	Name  string
	Match Match
	// RequestHeaders and ResponseHeaders hold for whatever is done.
	RequestHeaders  HeaderOps
	ResponseHeaders HeaderOps
	// Exactly one of these is set.
	Forward  *Forward
	Redirect *Redirect
	// Refused says why the rule answers 500.
	Refused string
}

// PathKind says how a path is compared.
type PathKind uint8

const (
	// PathPrefix compares by segment: /a matches /a and /a/b, not /ab.
	PathPrefix PathKind = iota
	// PathExact compares the whole path.
	PathExact
	// PathRegexp is an RE2 expression for the whole path.
	PathRegexp
)

// Match is a conjunction.
type Match struct {
	PathKind PathKind
	// Path starts with "/" unless PathRegexp. A prefix other than "/" has no
	// trailing "/".
	Path string
	// Method is "" for all.
	Method string
	// Headers have lower-case names, each once.
	Headers []ValueMatch
	Query   []ValueMatch
}

// ValueMatch compares one header or query parameter.
type ValueMatch struct {
	Name   string
	Regexp bool
	Value  string
}

// HeaderOps are header changes.
type HeaderOps struct {
	Set, Add []Header
	Remove   []string
}

// Empty says that nothing is changed.
func (h *HeaderOps) Empty() bool { return len(h.Set)+len(h.Add)+len(h.Remove) == 0 }

// Header is one header line.
type Header struct{ Name, Value string }

// Forward sends the request to one of several backends.
type Forward struct {
	Backends []Weighted
	// Host replaces the Host header; "" leaves it.
	Host string
	// Path is nil where the path stays.
	Path *PathChange
	// RequestTimeout bounds the whole request, AttemptTimeout one attempt; 0: none.
	RequestTimeout, AttemptTimeout time.Duration
	// Retry is nil where the route asks for none.
	Retry *Retry
}

// Weighted is one share of the traffic.
type Weighted struct {
	// Backend is a Port.ID. Invalid: nothing stands behind the reference, its
	// share is answered 500, and Backend is "".
	Backend string
	Invalid bool
	// Weight may be 0: no traffic.
	Weight          uint32
	RequestHeaders  HeaderOps
	ResponseHeaders HeaderOps
}

// PathChange replaces the path, or the prefix that the rule matched.
type PathChange struct {
	// Prefix: Value replaces the matched prefix (the rule's PathKind is
	// PathPrefix). Else it replaces the whole path.
	Prefix bool
	Value  string
}

// Retry says what is tried again.
type Retry struct {
	// Attempts beyond the first one, at least 1.
	Attempts uint32
	// Codes are response statuses, sorted, unique.
	Codes []uint32
	// Backoff is the least wait and the base of the exponential jitter on top of
	// it, MaxBackoff the bound of both together.
	Backoff, MaxBackoff time.Duration
}

// Redirect answers with a Location. Empty fields keep the request's own value.
type Redirect struct {
	Scheme, Host string
	Port         uint16
	Path         *PathChange
	// Status is 301, 302, 303, 307 or 308.
	Status int
}
