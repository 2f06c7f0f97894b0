package telemetry

// Reason says why a request, an attempt or a connection did not go the ordinary
// way. It is the value of the metric label reason, of the log field reason and
// of the response header x-culvert-reason. The set is closed: every dead end of
// the data path has one, and a new dead end adds one here, in all three tables.
type Reason uint8

const (
	// None is the ordinary way.
	None Reason = iota

	// Policy: what the tables say.

	// NoRoute: routes are attached to the service and none matches.
	NoRoute
	// NoBackend: the rule's backend is invalid or missing.
	NoBackend
	// NoEndpoint: the backend has no endpoint that is ready.
	NoEndpoint
	// BreakerOpen: every endpoint that is ready is ejected.
	BreakerOpen
	// UnknownOrigin: no service has the origin that the client dialled.
	UnknownOrigin
	// UnknownWorkload: the workload was forgotten while its connection waited.
	UnknownWorkload
	// Unavailable: policy answers in place of a backend (a direct response that
	// names no reason of this set).
	Unavailable

	// Upstream: what happened to an attempt.

	// SocketFailed: no socket could be opened in the workload's namespace.
	SocketFailed
	// ConnectFailed: the endpoint refused or was unreachable.
	ConnectFailed
	// ConnectTimeout: the endpoint did not answer the connect in time.
	ConnectTimeout
	// UpstreamReset: the connection was lost before the response was complete.
	UpstreamReset
	// UpstreamProtocol: the response breaks HTTP, or only informational ones come.
	UpstreamProtocol
	// UpstreamStatus: the response's status is one that the policy tries again.
	UpstreamStatus
	// StaleConnection: a pooled connection was closed by the endpoint before it
	// could have seen the request.
	StaleConnection
	// AttemptTimeout: no response head within the attempt's time.
	AttemptTimeout
	// RequestTimeout: no complete response within the request's time.
	RequestTimeout
	// UpstreamIdle: the endpoint stalled in the middle of a body.
	UpstreamIdle

	// Retry: why a failed attempt was not tried again.

	// RetryBudget: the backend's budget of retries is spent.
	RetryBudget
	// RetryLimit: the rule's number of attempts is spent.
	RetryLimit
	// BodyNotReplayable: the body was larger than what is kept for a replay.
	BodyNotReplayable

	// Client: what the client did.

	// ClientGone: the client closed or reset before the response was complete.
	ClientGone
	// ClientTimeout: the client stalled in the middle of a head or a body.
	ClientTimeout
	// BadRequest: the request breaks HTTP.
	BadRequest
	// BodyTooLarge: the request's body is larger than allowed.
	BodyTooLarge
	// TargetTooLong: the request's target is longer than allowed.
	TargetTooLong
	// HeadTooLarge: the request's head is larger than allowed.
	HeadTooLarge
	// NotImplemented: a transfer coding or method that no proxy can forward.
	NotImplemented
	// ExpectationFailed: the request expects what nobody can do.
	ExpectationFailed
	// VersionNotSupported: not HTTP/1.0 or HTTP/1.1.
	VersionNotSupported

	// Connections.

	// DetectTimeout: the client stopped within first bytes that fit more than one
	// protocol; the connection goes on as TCP.
	DetectTimeout
	// IdleTimeout: nothing moved for as long as the limit allows.
	IdleTimeout
	// Draining: the workload or the proxy is going away.
	Draining
	// Panic: a fault of the proxy itself ended the connection.
	Panic
	// Overload: the proxy is out of descriptors or of memory for connections.
	Overload

	// reasonCount is one beyond the last; it sizes tables.
	reasonCount
)

// String returns the reason's label value: lower case, words joined by "_".
func (r Reason) String() string {
	switch r {
	case None:
		return "none"
	case NoRoute:
		return "no_route"
	case NoBackend:
		return "no_backend"
	case NoEndpoint:
		return "no_endpoint"
	case BreakerOpen:
		return "breaker_open"
	case UnknownOrigin:
		return "unknown_origin"
	case UnknownWorkload:
		return "unknown_workload"
	case Unavailable:
		return "unavailable"
	case SocketFailed:
		return "socket_failed"
	case ConnectFailed:
		return "connect_failed"
	case ConnectTimeout:
		return "connect_timeout"
	case UpstreamReset:
		return "upstream_reset"
	case UpstreamProtocol:
		return "upstream_protocol"
	case UpstreamStatus:
		return "upstream_status"
	case StaleConnection:
		return "stale_connection"
	case AttemptTimeout:
		return "attempt_timeout"
	case RequestTimeout:
		return "request_timeout"
	case UpstreamIdle:
		return "upstream_idle"
	case RetryBudget:
		return "retry_budget"
	case RetryLimit:
		return "retry_limit"
	case BodyNotReplayable:
		return "body_not_replayable"
	}
	return r.clientString()
}

// clientString names what clients and connections do; it is apart from String
// only to keep each table on one screen.
func (r Reason) clientString() string {
	switch r {
	case ClientGone:
		return "client_gone"
	case ClientTimeout:
		return "client_timeout"
	case BadRequest:
		return "bad_request"
	case BodyTooLarge:
		return "body_too_large"
	case TargetTooLong:
		return "target_too_long"
	case HeadTooLarge:
		return "head_too_large"
	case NotImplemented:
		return "not_implemented"
	case ExpectationFailed:
		return "expectation_failed"
	case VersionNotSupported:
		return "version_not_supported"
	case DetectTimeout:
		return "detect_timeout"
	case IdleTimeout:
		return "idle_timeout"
	case Draining:
		return "draining"
	case Panic:
		return "panic"
	case Overload:
		return "overload"
	}
	return "unknown"
}

// Status is the response status that a client gets when a request ends for r
// and no response of an endpoint is there to be forwarded. 0: there is nobody
// to answer, or nothing to say; the connection is closed.
func (r Reason) Status() int {
	switch r {
	case NoRoute:
		return 404 // Gateway API HTTPRouteRule: a request that matches no rule
	case BadRequest:
		return 400
	case ClientTimeout:
		return 408
	case BodyTooLarge:
		return 413
	case TargetTooLong:
		return 414
	case ExpectationFailed:
		return 417
	case HeadTooLarge:
		return 431
	case NoBackend, Panic:
		return 500 // Gateway API HTTPRouteRule.backendRefs: an invalid reference
	case NotImplemented:
		return 501
	case VersionNotSupported:
		return 505
	case ConnectFailed, UpstreamReset, UpstreamProtocol, StaleConnection, SocketFailed,
		BodyNotReplayable, RetryBudget, RetryLimit:
		return 502
	case NoEndpoint, BreakerOpen, Unavailable, UnknownOrigin, Draining, Overload, UnknownWorkload:
		return 503
	case ConnectTimeout, AttemptTimeout, RequestTimeout, UpstreamIdle:
		return 504
	}
	return 0
}

// ParseReason returns the reason whose label value is name; ok is false where
// there is none. A snapshot names the reason of a direct response by its label.
func ParseReason(name string) (r Reason, ok bool) {
	for r := None; r < reasonCount; r++ {
		if r.String() == name {
			return r, true
		}
	}
	return None, false
}
