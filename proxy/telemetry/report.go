package telemetry

import (
	"net/netip"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// Source is the workload that a connection comes from, as the label source
// names it. Server makes one per workload and shares it.
type Source struct {
	// ID is the workload's id on this node.
	ID uint32
	// Label is "namespace/name", built once.
	Label string
}

// Report is what happened to one request. The l7 code fills it on the way and
// hands it to Recorder.RequestEnded exactly once. All times are the loop
// clock's nanoseconds.
type Report struct {
	// set when the request begins

	// Conn is the connection that it came on.
	Conn *ConnReport
	// Service is what the connection's origin means in the snapshot that this
	// request was pinned to; its name is the connection's.
	Service *table.Service
	// Start is when the first byte of the request was read.
	Start int64

	// set when the request is routed; nil where it never was

	Rule    *table.Rule
	Backend *table.Backend

	// set when the request ends

	// Method and Path are for the access line only and valid until
	// RequestEnded returns.
	Method, Path []byte
	// End is when the last byte of the response was written.
	End int64
	// Endpoint is the one of the last attempt.
	Endpoint netip.AddrPort
	// Status is the one sent to the client; 0: none was.
	Status int
	// Reason says why the request did not go the ordinary way.
	Reason Reason
	// Attempts counts all tries, the first included.
	Attempts int
	// BytesIn and BytesOut are from and to the client, heads included.
	BytesIn, BytesOut int64
}

// Outcome is how an attempt ended, as metrics name it; a closed set.
type Outcome uint8

const (
	// OutcomeOK: a complete response with a status below 500.
	OutcomeOK Outcome = iota
	// OutcomeStatus: a complete response with a status of 500 or above.
	OutcomeStatus
	// OutcomeConnect: no connection could be made.
	OutcomeConnect
	// OutcomeReset: the connection was lost, or the response broke HTTP.
	OutcomeReset
	// OutcomeTimeout: too slow.
	OutcomeTimeout
	// OutcomeCancelled: the client went away; it says nothing about the endpoint.
	OutcomeCancelled
	// OutcomeStale: a pooled connection was gone before it saw the request.
	OutcomeStale

	outcomeCount
)

// String returns the outcome's label value.
func (o Outcome) String() string {
	switch o {
	case OutcomeOK:
		return "ok"
	case OutcomeStatus:
		return "failure_status"
	case OutcomeConnect:
		return "connect_failed"
	case OutcomeReset:
		return "reset"
	case OutcomeTimeout:
		return "timeout"
	case OutcomeCancelled:
		return "cancelled"
	case OutcomeStale:
		return "stale"
	}
	return "unknown"
}

// Attempt is what happened to one try of a request.
type Attempt struct {
	Service *table.Service
	Backend *table.Backend
	// Endpoint is where the try went; the zero value where there was no lease.
	Endpoint netip.AddrPort
	// Start and End are the loop clock's nanoseconds.
	Start, End int64
	// Reused says that the connection came from the pool.
	Reused bool
	// Status is the response's; 0: there was none.
	Status  int
	Outcome Outcome
	// Retry is the reason for which the request is tried again after this
	// attempt; None: it is not.
	Retry Reason
	// Refusal says why it is not, where the policy would have it: RetryBudget,
	// RetryLimit or BodyNotReplayable.
	Refusal Reason
}

// ConnReport is what happened to one connection of a client.
type ConnReport struct {
	// set when the connection is accepted

	Source *Source
	Origin netip.AddrPort
	// Service is nil where the origin is unknown.
	Service *table.Service
	Start   int64

	// set when the protocol is known

	// HTTP says that the connection is read as HTTP; false: bytes both ways.
	HTTP bool
	// Backend and Endpoint are the TCP connection's; HTTP has them per request.
	Backend  *table.Backend
	Endpoint netip.AddrPort

	// set when the connection ends

	End    int64
	Reason Reason
	// Detour is why the connection did not go the ordinary way, though it went
	// on: DetectTimeout. It is counted apart from failures.
	Detour Reason
	// Requests counts the HTTP requests that it carried.
	Requests int
	// BytesIn and BytesOut are from and to the client.
	BytesIn, BytesOut int64

	// owned by Recorder

	flow      *entry[flowLabels, Flow]
	undecided bool
}

// Flow is where the connection's bytes are counted while they move. Only after
// Recorder.ConnOpened.
func (c *ConnReport) Flow() *Flow { return &c.flow.value }
