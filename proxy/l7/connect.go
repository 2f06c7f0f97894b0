package l7

import (
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// connect takes a connection from the pool, or makes one, within the request's and
// the attempt's time.
func (x *exchange) connect(fresh bool) (reason telemetry.Reason) {
	c, reused, err := x.lease.ConnBy(x.session.report.Source.ID, fresh, x.connectBy())
	x.attempt.Reused = reused
	x.sent, x.begun, x.keep, x.ended = 0, false, false, clientEnd{}
	x.up = c
	switch {
	case x.cause == telemetry.RequestTimeout:
		x.keep = err == nil // nothing was written
		x.outcome, x.attempt.Outcome = upstream.Timeout, telemetry.OutcomeTimeout
		return x.cause
	case x.cause != telemetry.None:
		x.keep = err == nil
		return x.cause
	case err == nil && x.slow:
		x.keep = true
		x.outcome, reason = upstream.ConnectFailed, telemetry.ConnectTimeout
	case err == nil:
		return telemetry.None
	default:
		x.outcome, reason = upstream.ConnectFault(err)
	}
	x.attempt.Outcome = telemetry.OutcomeConnect
	return reason
}

// connectBy is when a connect is too late, on the loop's clock; 0: when the backend
// says so.
func (x *exchange) connectBy() int64 {
	if x.forward.AttemptTimeout <= 0 {
		return x.expires
	}
	by := x.attempt.Start + int64(x.forward.AttemptTimeout)
	if x.expires != 0 {
		by = min(by, x.expires)
	}
	return by
}

// attemptTimedOut is called on the loop. A connect has been given the same bound.
func (x *exchange) attemptTimedOut() {
	x.slow = true
	if x.up != nil {
		x.up.ReadBy(1)
		x.up.WriteBy(1)
	}
}
