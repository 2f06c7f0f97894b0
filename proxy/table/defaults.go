package table

import "time"

// The defaults of policy, all of them in this one place. Build fills them in,
// so no other package knows them; the README's table is made from this file.
const (
	// DefaultConnectTimeout bounds one connect to an endpoint. Within a
	// cluster a connect takes well under 10 ms; 1 s allows for one lost SYN
	// (the kernel sends the second after 1 s, so two losses fail).
	DefaultConnectTimeout = time.Second

	// DefaultConsecutive is how many failures in a row open an endpoint's
	// breaker (Envoy's consecutive_5xx default).
	DefaultConsecutive = 5
	// DefaultBaseEjection is how long it stays open the first time. Envoy's
	// is 30 s; ours is short because the half-open probe risks one request
	// only, and a longer one makes recovery slow.
	DefaultBaseEjection = time.Second
	// DefaultMaxEjection bounds the doubling.
	DefaultMaxEjection = time.Minute

	// DefaultBudgetPercent and DefaultBudgetMin allow retries for 20 % of the
	// live requests, and always 3 (Envoy's retry_budget defaults).
	DefaultBudgetPercent = 20.0
	DefaultBudgetMin     = 3

	// DefaultRetryAttempts is how often a request is tried again where the
	// policy says nothing, for connection faults before a byte was sent only.
	// Each goes to an endpoint that was not tried, so four of them that died
	// together must be met before a request fails.
	DefaultRetryAttempts = 3
	// DefaultBackoff is the base of the backoff between attempts, and
	// DefaultBackoffGrowth times the base is its bound (Envoy's defaults).
	DefaultBackoff       = 25 * time.Millisecond
	DefaultBackoffGrowth = 10
)

// Bounds on what a configuration may ask for. Each protects a loop or the
// memory of the node from one bad object.
const (
	// MaxRegexpProgram bounds a compiled expression, in instructions. Matching
	// takes time in proportion to it and to the value, on a loop.
	MaxRegexpProgram = 1000
	// MaxValueBytes bounds a path, a header's or a parameter's value in a
	// match, and a header's value in an edit. Gateway API allows 4096.
	MaxValueBytes = 4096
	// MaxBodyBytes bounds a direct answer's body (Envoy's own bound).
	MaxBodyBytes = 4096
	// MaxRetryAttempts bounds the retries of one request.
	MaxRetryAttempts = 100
	// MaxConsecutive bounds BreakerInput.Consecutive: the breaker counts in 16 bits.
	MaxConsecutive = 65535
	// MaxEjectionBound bounds BreakerInput's durations.
	MaxEjectionBound = 24 * time.Hour
)
