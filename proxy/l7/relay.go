package l7

import (
	"io"
	"net"
	"os"

	"github.com/culvert-mesh/culvert/proxy/http1"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// relay forwards the response whose head is in out. It always returns None:
// from the first byte on there is no other attempt, so every fault ends here.
func (x *exchange) relay() telemetry.Reason {
	x.report.Status = x.response.Status()
	x.attempt.Status = x.response.Status()
	if x.response.Status() == 101 {
		x.switchProtocols()
		return telemetry.None
	}
	if !x.body.Done() || x.upload.running || x.session.draining {
		// The response overtakes the request (RFC 9112 9.6), or is the last one.
		x.persist = false
	}
	framing := x.response.FramingFor(x.request.Minor)
	if framing.Kind == http1.UntilClose {
		x.persist = false
	}
	x.reply = http1.ResponseHead{
		Framing: framing, ClientMinor: x.request.Minor, Close: !x.persist, Edits: x.edits.list,
	}
	x.replyBody.Start(x.response.Framing())
	if x.lease.Probe() {
		x.lease.Learn(x.verdict()) // others wait for it, and the body may take hours
	}
	if x.relayFirst() {
		for !x.replyBody.Done() && x.relayMore() {
		}
	}
	if x.replyBody.Done() && x.connReason == telemetry.None {
		x.trail()
		x.relayed()
	}
	return telemetry.None
}

// trail lets the rest of the request follow a response that has overtaken it,
// for as long as the client sends and the endpoint takes it: some applications
// read on after they have answered, and a proxy that is not there would not
// stop them. The client is told at once that the response was the last one.
func (x *exchange) trail() {
	if !x.upload.running {
		return
	}
	x.upload.trailing = true
	// With both directions closed the kernel says EPOLLHUP also when the client ended in order and
	// bytes of the body wait. A reset shows in the upload.
	x.client.OnReset(nil)
	_ = x.client.CloseWrite() // a fault shows in the upload, too
	x.client.ReadBy(after(x.engine.loop.Now(), x.engine.limits.TrailTimeout))
	x.up.ReadBy(0)
	var one [1]byte
	// Whatever comes is the end, and the upload's end cuts the wait short.
	if n, err := x.up.Read(one[:]); n > 0 || err != os.ErrDeadlineExceeded {
		x.response.KeepAlive = false
	}
	x.upload.stop()
	x.up.ReadBy(0)
}

// relayed settles a response that was forwarded whole.
func (x *exchange) relayed() {
	x.keep = x.finished()
	x.outcome = x.verdict()
}

// verdict is what the response's status says about the endpoint.
func (x *exchange) verdict() upstream.Outcome {
	if x.attempt.Status >= 500 {
		x.attempt.Outcome = telemetry.OutcomeStatus
		return upstream.Failure5xx
	}
	x.attempt.Outcome = telemetry.OutcomeOK
	return upstream.OK
}

// finished says that the upstream connection is between two messages: the
// request was sent whole, the response read whole, and nothing came behind it.
// After an interrupt nobody can say so.
func (x *exchange) finished() bool {
	if x.cause != telemetry.None || x.ended.passed || !x.response.KeepAlive || !x.body.Done() || x.upload.running || x.upload.broken || x.writeErr != nil {
		return false
	}
	if !x.committed { // refused: the body was not looked at
		x.replyBody.Start(x.response.Framing())
		_, n, err := x.replyBody.Next(x.out[x.replySize:])
		return err == nil && x.replyBody.Done() && x.replySize+n == len(x.out)
	}
	return len(x.out) == 0
}

// relayFirst sends the head, and what came with it of the body.
func (x *exchange) relayFirst() bool {
	e := x.engine
	data, n, err := x.replyBody.Next(x.out[x.replySize:])
	surplus := len(x.out) - x.replySize - n
	head := x.response.AppendHead(e.buffer(smallBuffer), &x.reply)
	ok := x.pass(head, data)
	e.freeHead(head)
	full := len(x.out) == cap(x.out)
	x.session.bulk = full || len(x.out) > mediumBuffer
	x.out = x.out[:0]
	return x.passed(ok, surplus, err) && x.nextBuffer(full)
}

// relayMore waits for more of the body, without a buffer, and sends it on.
func (x *exchange) relayMore() bool {
	e := x.engine
	if e.limits.ResponseTimeout > 0 {
		x.up.ReadBy(after(e.loop.Now(), e.limits.ResponseTimeout))
	}
	if err := x.up.Await(); err != nil {
		return x.cut(err)
	}
	x.out = e.bodyBuffer(x.outSize)
	n, err := x.up.Read(x.out[:cap(x.out)])
	if err != nil && err != io.EOF {
		return x.cut(err)
	}
	if err == io.EOF && x.replyBody.EOF() != nil {
		return x.cut(err)
	}
	data, used, err := x.replyBody.Next(x.out[:n])
	ok := len(data) == 0 && !x.replyBody.Done() || x.pass(nil, data)
	return x.passed(ok, n-used, err) && x.nextBuffer(n == cap(x.out))
}

// pass writes a piece of the response to the client, framed.
func (x *exchange) pass(head, data []byte) bool {
	e := x.engine
	x.client.WriteBy(after(e.loop.Now(), e.limits.WriteTimeout))
	x.piece = piece{head: head, data: data, framing: x.reply.Framing.Kind,
		last: x.replyBody.Done(), trailers: x.replyBody.Trailers()}
	x.committed = true
	var sent int64
	var err error
	if len(data) <= copyLimit && head != nil {
		var n int
		n, err = x.client.Write(x.framer.append(head, &x.piece))
		sent = int64(n)
	} else {
		sent, err = x.client.Writev(x.framer.vector(&x.piece))
	}
	x.report.BytesOut += sent
	return err == nil
}

// passed looks at how the last piece went; false: there will be no further one.
func (x *exchange) passed(ok bool, surplus int, err error) bool {
	switch {
	case !ok:
		x.lost(telemetry.ClientGone)
		return false
	case err != nil:
		return x.cut(err)
	case surplus > 0:
		x.response.KeepAlive = false // bytes that nobody asked for: RFC 9112 6.3
	}
	return true
}

// nextBuffer lets go of the buffer until there are bytes again, and asks for a
// large one when the last was full.
func (x *exchange) nextBuffer(full bool) bool {
	x.engine.free(x.out)
	x.out = nil
	x.outSize = mediumBuffer
	if left := x.replyBody.Remaining(); full || left > mediumBuffer {
		x.outSize = largeBuffer
	}
	return true
}

// cut ends a response of which a part was sent: the endpoint failed, or the
// request was interrupted. The client learns it from the connection's end; a
// body that ends with the connection needs a reset for that.
func (x *exchange) cut(err error) bool {
	reason := telemetry.UpstreamReset
	if _, protocol := err.(*http1.Error); protocol {
		reason = telemetry.UpstreamProtocol
	} else if err == os.ErrDeadlineExceeded {
		reason = telemetry.UpstreamIdle
	} else if err == net.ErrClosed {
		reason = telemetry.Draining // the loop is ending
	}
	x.outcome, x.attempt.Outcome = upstream.Reset, telemetry.OutcomeReset
	x.gaveUp(err)
	x.lost(reason)
	if x.reply.Framing.Kind == http1.UntilClose {
		x.client.Abort()
	}
	return false
}

// lost ends the connection in the middle of a response. An interrupt is what
// really happened.
func (x *exchange) lost(reason telemetry.Reason) {
	if x.cause != telemetry.None {
		reason = x.cause
	}
	switch reason {
	case telemetry.ClientGone, telemetry.ClientTimeout, telemetry.Draining:
		x.outcome, x.attempt.Outcome = upstream.Cancelled, telemetry.OutcomeCancelled
	case telemetry.RequestTimeout, telemetry.UpstreamIdle:
		x.outcome, x.attempt.Outcome = upstream.Timeout, telemetry.OutcomeTimeout
	}
	x.report.Reason, x.connReason = reason, reason
	x.persist, x.linger = false, false
}

// inform passes an informational response on (RFC 9110 15.2), to clients that
// know them.
func (x *exchange) inform() telemetry.Reason {
	if x.request.Minor == 0 {
		return telemetry.None
	}
	e := x.engine
	x.reply = http1.ResponseHead{ClientMinor: x.request.Minor}
	head := x.response.AppendHead(e.buffer(smallBuffer), &x.reply)
	x.client.WriteBy(after(e.loop.Now(), e.limits.WriteTimeout))
	x.informed = true
	n, err := x.client.Write(head)
	x.report.BytesOut += int64(n)
	e.freeHead(head)
	if err != nil {
		x.lost(telemetry.ClientGone)
		x.interrupt(telemetry.ClientGone)
	}
	return x.cause
}
