package l7

import (
	"io"
	"net"
	"syscall"

	"github.com/culvert-mesh/culvert/proxy/http1"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/retry"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// try is what one attempt, and the loop around it, keep in the exchange.
type try struct {
	policy  *retry.Policy
	tried   upstream.Tried
	retries uint32
	pause   reactor.Signal // ends a backoff early

	lease    upstream.Lease
	up       *reactor.Conn // nil: none
	out      []byte        // what was read from up and not yet dealt with; nil: no buffer
	attempt  telemetry.Attempt
	outcome  upstream.Outcome
	outSize  int   // of the next buffer for out
	sent     int   // bytes of this request that up took
	begun    bool  // a byte of the response was read
	keep     bool  // up can carry another request
	slow     bool  // the attempt's time is over
	writeErr error // the first fault of writing to up
	ended    clientEnd
	leased   bool // there was a lease for this attempt

	budgeted bool // a place in the backend's budget of retries is taken
}

// attempts sends the request to one endpoint after the other until one answers
// in a way that the policy lets stand, or there is nothing left to try.
func (x *exchange) attempts(f *table.Forward) {
	share := f.Pick(x.engine.random.Uint64())
	if share == nil || share.Backend == nil {
		x.fail(telemetry.NoBackend)
		return
	}
	x.prepare(f, share)
	defer x.release()
	for {
		failure := x.once()
		again := failure != telemetry.None && (x.attempt.Retry != telemetry.None || x.retry(failure))
		if x.leased {
			x.engine.recorder.AttemptEnded(&x.attempt)
		}
		if again && x.backoff() {
			continue
		}
		if x.cause != telemetry.None {
			failure = x.cause
		}
		if failure != telemetry.None {
			x.fail(failure)
		}
		return
	}
}

// release gives back what all attempts of a request share.
func (x *exchange) release() {
	x.upload.end()
	if x.budgeted {
		x.backend.GiveRetry()
	}
}

// prepare decides all that is the same for every attempt.
func (x *exchange) prepare(f *table.Forward, share *table.Share) {
	x.forward = f
	x.backend = x.session.tables.View.Backend(share.Backend)
	x.report.Backend = share.Backend
	x.policy, x.retries, x.budgeted = (*retry.Policy)(f.Retry), 0, false
	x.edits.add(&share.ResponseHeaders)
	x.changes.add(&x.rule.Action.RequestHeaders)
	x.changes.add(&share.RequestHeaders)
	x.head = http1.RequestHead{
		Framing: x.request.Framing(),
		Upgrade: x.request.Upgrade() != nil,
		Edits:   x.changes.list,
	}
	if len(x.request.Host()) == 0 {
		x.head.Host = authority(x.session.origin)
	}
	if f.Rewrite != nil {
		x.rewrite(f.Rewrite)
	}
	if x.expires = 0; f.RequestTimeout > 0 {
		x.expires = x.engine.loop.Now() + int64(f.RequestTimeout)
		x.engine.loop.After(&x.deadline, f.RequestTimeout)
	}
	x.client.OnReset(x.onReset)
}

// once is one attempt, from the lease to the end of the response. None: the
// client has its response, or as much of it as there will be.
func (x *exchange) once() (failure telemetry.Reason) {
	loop := x.engine.loop
	x.attempt = telemetry.Attempt{Service: x.report.Service, Backend: x.report.Backend, Start: loop.Now()}
	x.slow, x.leased, x.outcome = false, false, upstream.Cancelled
	x.attempt.Outcome = telemetry.OutcomeCancelled
	if x.lease, failure = x.backend.Acquire(x.engine.pools, &x.tried); failure != telemetry.None {
		return failure
	}
	x.leased = true
	defer x.settle()
	x.report.Attempts++
	x.attempt.Endpoint = x.lease.Endpoint().Addr()
	x.report.Endpoint = x.attempt.Endpoint
	if x.forward.AttemptTimeout > 0 {
		loop.After(&x.patience, x.forward.AttemptTimeout)
	}
	fresh := false
	for {
		if failure = x.connect(fresh); failure != telemetry.None {
			return failure
		}
		if failure = x.ask(); failure == telemetry.None {
			break
		}
		if failure != telemetry.StaleConnection || fresh || !x.replayable() {
			return failure
		}
		// The endpoint closed an idle connection as our request was on its way:
		// once more, on a connection that nobody had reason to close.
		x.hangUp()
		x.recordStale()
		fresh = true
	}
	x.patience.Stop()
	if x.refused() {
		return telemetry.UpstreamStatus
	}
	return x.relay()
}

// recordStale counts the try that met a stale connection; the lease goes on.
func (x *exchange) recordStale() {
	x.attempt.End, x.attempt.Retry = x.engine.loop.Now(), telemetry.StaleConnection
	x.engine.recorder.AttemptEnded(&x.attempt)
	x.attempt.Retry, x.attempt.Outcome = telemetry.None, telemetry.OutcomeCancelled
}

// ask sends the request and reads the head of the response.
func (x *exchange) ask() telemetry.Reason {
	if failure := x.send(); failure != telemetry.None {
		return failure
	}
	return x.awaitHead()
}

// settle gives back what an attempt held and says how it went, once.
func (x *exchange) settle() {
	x.patience.Stop()
	x.hangUp()
	x.lease.Done(x.outcome)
	x.attempt.End = x.engine.loop.Now()
}

// hangUp lets go of the upstream connection: to the pool if it can be used
// again, else closed. The upload that writes to it comes to its end first.
func (x *exchange) hangUp() {
	x.upload.stop()
	x.engine.free(x.out)
	x.out = nil
	up := x.up
	if up == nil {
		return
	}
	x.up = nil
	if x.keep {
		x.lease.Keep(up)
	} else {
		x.lease.Drop(up)
	}
}

// informationalBytes bounds the informational responses before a final one, all
// together, as a head is bounded: an endpoint that sends nothing else would never
// come to an end. It is room for 2,000 of them, or for large ones as 103s are.
const informationalBytes = 64 << 10

// awaitHead reads until out begins with the head of the final response.
// Informational ones before it are passed on (RFC 9110 15.2).
func (x *exchange) awaitHead() telemetry.Reason {
	x.response.Reset()
	informed := 0 // bytes
	for {
		if err := x.readUp(); err != nil {
			return x.upstreamFault(err)
		}
		x.begun = true
		for len(x.out) > 0 {
			n, err := x.response.Parse(x.out, &x.engine.limits.Response, x.request.Method())
			if err != nil || n > 0 && x.uninvited() {
				return x.misspoke()
			}
			if n == 0 {
				break
			}
			if !x.response.Informational() {
				x.replySize = n
				return telemetry.None
			}
			if informed += n; informed > informationalBytes {
				return x.misspoke()
			}
			if reason := x.inform(); reason != telemetry.None {
				return reason
			}
			x.out = x.out[:copy(x.out, x.out[n:])]
			x.response.Reset()
		}
	}
}

// misspoke: the endpoint does not speak HTTP.
func (x *exchange) misspoke() telemetry.Reason {
	x.outcome, x.attempt.Outcome = upstream.Reset, telemetry.OutcomeReset
	return telemetry.UpstreamProtocol
}

// uninvited: a 101 that nobody asked for, or before the request's end (RFC 9110 7.8),
// would make a tunnel past routing and policy.
func (x *exchange) uninvited() bool {
	return x.response.Status() == 101 && (x.request.Upgrade() == nil || !x.body.Done() || x.upload.running)
}

// readUp waits without a buffer, then reads once into out.
func (x *exchange) readUp() error {
	if x.out == nil {
		if err := x.up.Await(); err != nil {
			return err
		}
		x.out = x.engine.bodyBuffer(x.firstSize())
	} else if len(x.out) == cap(x.out) {
		grown := append(x.engine.buffer(cap(x.out)*4), x.out...)
		x.engine.free(x.out)
		x.out = grown
	}
	n, err := x.up.Read(x.out[len(x.out):cap(x.out)])
	x.out = x.out[:len(x.out)+n]
	return err
}

// firstSize is how much the first read of a response asks for.
func (x *exchange) firstSize() int {
	if x.session.bulk {
		return largeBuffer
	}
	return mediumBuffer
}

// upstreamFault says why the endpoint gave no response, and what that teaches.
func (x *exchange) upstreamFault(err error) telemetry.Reason {
	if x.writeErr != nil {
		err = x.writeErr // the read only saw what was left
	}
	if err == net.ErrClosed {
		x.interrupt(telemetry.Draining) // the loop is ending
	}
	if x.cause == telemetry.RequestTimeout {
		x.outcome, x.attempt.Outcome = upstream.Timeout, telemetry.OutcomeTimeout
	}
	if x.cause != telemetry.None || x.ended.late && x.gaveUp(err) {
		return x.cause
	}
	if x.slow {
		x.outcome, x.attempt.Outcome = upstream.Timeout, telemetry.OutcomeTimeout
		return telemetry.AttemptTimeout
	}
	if x.attempt.Reused && !x.begun && gone(err) && x.mayRepeat(err) {
		x.attempt.Outcome = telemetry.OutcomeStale
		return telemetry.StaleConnection
	}
	if x.gaveUp(err) {
		return x.cause
	}
	x.outcome, x.attempt.Outcome = upstream.Reset, telemetry.OutcomeReset
	return telemetry.UpstreamReset
}

// gone: the peer has closed or reset the connection.
func gone(err error) bool {
	return err == io.EOF || err == syscall.ECONNRESET || err == syscall.EPIPE
}

// mayRepeat says that sending the request once more on a new connection cannot
// do its work twice: its method is made for that (RFC 9110 9.2.2), or the
// endpoint has not seen a byte of it. The latter is certain when nothing was
// acknowledged and the endpoint had closed in order: every segment that it sent
// acknowledges what it had received, the FIN too. A bare reset proves nothing:
// an acknowledgement may have been held back behind it.
func (x *exchange) mayRepeat(err error) bool {
	if retry.Idempotent(x.request.Method()) {
		return true
	}
	if x.sent == 0 {
		return true
	}
	return err != syscall.ECONNRESET && unacknowledged(x.up.RawFD()) >= x.sent
}

// retry decides whether a failed attempt is followed by another.
func (x *exchange) retry(failure telemetry.Reason) bool {
	if x.cause != telemetry.None || !x.leased {
		return false
	}
	tried := retry.Attempt{
		Fault: fault(failure), Status: uint16(x.attempt.Status), Retries: x.retries,
		Sent: x.sent > 0, Idempotent: retry.Idempotent(x.request.Method()),
		Replayable: x.replayable(), Answered: x.committed || x.informed,
	}
	switch x.policy.Decide(tried) {
	case retry.NotReplayable:
		x.attempt.Refusal = telemetry.BodyNotReplayable
	case retry.Exhausted:
		x.attempt.Refusal = telemetry.RetryLimit
	case retry.Again:
		if tried.Budgeted() && !x.budgeted {
			if !x.backend.TakeRetry() {
				x.attempt.Refusal = telemetry.RetryBudget
				return false
			}
			x.budgeted = true
		}
		x.attempt.Retry = failure
		return true
	}
	return false
}

// backoff waits for the turn of the next attempt; false: it is not to be, for
// x.cause.
func (x *exchange) backoff() bool {
	loop := x.engine.loop
	if wait := x.policy.Delay(x.retries, x.engine.random.Uint64()); wait > 0 {
		x.pause.WaitUntil(loop, loop.Now()+int64(wait))
	}
	x.retries++
	return x.cause == telemetry.None
}

// fault is the failure as the retry policy names it.
func fault(failure telemetry.Reason) retry.Fault {
	switch failure {
	case telemetry.AttemptTimeout:
		return retry.Timeout
	case telemetry.UpstreamStatus:
		return retry.Status
	case telemetry.UpstreamReset, telemetry.UpstreamProtocol, telemetry.StaleConnection:
		return retry.Reset
	}
	return retry.Connect
}

// refused says that the response has a status for which there is another
// attempt; the rest of this response is then not read.
func (x *exchange) refused() bool {
	x.attempt.Status = x.response.Status()
	if x.attempt.Status < 400 || !x.retry(telemetry.UpstreamStatus) {
		return false
	}
	x.outcome = x.verdict()
	x.keep = x.finished()
	return true
}

// replayable says that the whole of the body that was taken from the client is
// at hand.
func (x *exchange) replayable() bool { return !x.upload.overflowed }
