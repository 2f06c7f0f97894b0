package l7

import (
	"github.com/culvert-mesh/culvert/proxy/http1"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/route"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// exchange is one request and its response. Exchanges are reused, so nothing
// of one is allocated; all fields are reset by begin or by the stage that owns
// them.
type exchange struct {
	// set at construction
	engine   *Engine
	onReset  func()        // clientReset, bound once
	onEnd    func()        // clientEnded, bound once
	deadline reactor.Timer // the request's
	patience reactor.Timer // the attempt's

	// set while a session has it
	session *Session
	client  *reactor.Conn

	// the request as it came; owned by session.go and begin
	in       []byte // head, what came with it, and later requests; nil: no buffer
	request  http1.Request
	headSize int
	first    []byte // the decoded body bytes that came with the head, within in
	body     http1.Body
	started  int64 // when its first byte was read
	report   telemetry.Report

	// what was decided; owned by handle
	rule    *table.Rule
	forward *table.Forward
	backend *upstream.Backend
	head    http1.RequestHead
	edits   editor // of the response
	changes editor // of the request
	target  []byte // scratch for a rewritten target
	expires int64  // when deadline fires; 0: never

	// the attempts; owned by attempt.go
	try
	upload uploader

	// the response; owned by relay.go
	response  http1.Response
	reply     http1.ResponseHead
	replyBody http1.Body
	replySize int // of the head in out
	framer    framer
	piece     piece

	// how it ends
	open       bool             // begun and not ended
	cause      telemetry.Reason // of an interrupt; the first one stands
	informed   bool             // an informational response went to the client
	committed  bool             // bytes of the final one did
	persist    bool             // the client's connection can carry another request
	linger     bool             // the client may still be sending
	connReason telemetry.Reason // why the connection is over, where it is a fault
}

func newExchange(e *Engine) *exchange {
	x := &exchange{engine: e}
	x.onReset, x.onEnd = x.clientReset, x.clientEnded
	x.deadline.F = x.requestTimedOut
	x.patience.F = x.attemptTimedOut
	x.upload.x = x
	return x
}

// readHead reads until in begins with a whole request head. Not ok: there will
// be none, and the connection is over for the reason.
func (x *exchange) readHead() (reason telemetry.Reason, ok bool) {
	e := x.engine
	x.request.Reset()
	x.started = e.loop.Now()
	for waited := false; ; waited = true {
		if len(x.in) > 0 {
			n, err := x.request.Parse(x.in, &e.limits.Request)
			if err != nil {
				return x.refuse(faultReason(err)), false
			}
			if n > 0 {
				x.headSize = n
				if waited {
					x.client.ReadBy(0)
				}
				return telemetry.None, true
			}
			if !waited || x.session.idleTill != 0 {
				x.session.idleTill = 0
				x.client.ReadBy(after(e.loop.Now(), e.limits.HeadTimeout))
			}
		}
		if x.crowded() {
			return x.refuse(telemetry.HeadTooLarge), false
		}
		if err := x.readMore(); err != nil {
			return x.headCut(err), false
		}
	}
}

// readMore reads once into in, which it makes or lets grow.
func (x *exchange) readMore() error {
	if x.in == nil {
		x.in = x.engine.buffer(smallBuffer)
		x.started = x.engine.loop.Now()
	} else if len(x.in) == cap(x.in) {
		grown := append(x.engine.buffer(cap(x.in)*4), x.in...)
		x.engine.free(x.in)
		x.in = grown
	}
	n, err := x.client.Read(x.in[len(x.in):cap(x.in)])
	x.in = x.in[:len(x.in)+n]
	return err
}

// headCut settles a connection that ended or stalled before a head was whole.
func (x *exchange) headCut(err error) telemetry.Reason {
	reason := endReason(err, len(x.in) > 0)
	if reason == telemetry.ClientTimeout {
		x.begin()
		x.persist = false
		x.fail(reason)
		x.end()
	}
	return reason
}

// crowded says that this head needs one of the largest buffers and that there are
// too many of them: clients that send such heads slowly, or never to their end.
func (x *exchange) crowded() bool {
	return len(x.in) == cap(x.in) && cap(x.in) >= mediumBuffer && x.engine.held >= crowding*x.engine.limits.BufferBytes
}

// refuse answers a head that breaks HTTP. The connection ends, because where
// this request ends is not known.
func (x *exchange) refuse(reason telemetry.Reason) telemetry.Reason {
	x.request.Reset()
	x.begin()
	x.persist = false
	x.fail(reason)
	x.end()
	if x.client.CloseWrite() == nil {
		x.drain(after(x.engine.loop.Now(), x.engine.limits.LingerTimeout))
	}
	return reason
}

// handle takes one request from its head to the last byte of its response.
func (x *exchange) handle() {
	x.begin()
	known := x.pin()
	x.startBody()
	switch rule := x.route(known); {
	case x.cause != telemetry.None:
		x.fail(x.cause) // the body that came with the head breaks HTTP
	case !known:
		x.fail(telemetry.UnknownOrigin)
	case rule == nil:
		x.fail(telemetry.NoRoute)
	case rule.Action.Redirect != nil:
		x.redirect(rule.Action.Redirect)
	case rule.Action.Direct != nil:
		x.direct(rule.Action.Direct)
	default:
		x.attempts(rule.Action.Forward)
	}
	x.end()
}

// begin starts the report. The service is the one that the connection had last,
// because also a request whose origin is gone is counted somewhere.
func (x *exchange) begin() {
	x.cause, x.connReason = telemetry.None, telemetry.None
	x.pause = reactor.Signal{}
	x.upload.begin()
	x.informed, x.committed, x.linger = false, false, false
	x.persist = x.request.KeepAlive && !x.session.draining
	x.rule, x.forward, x.backend = nil, nil, nil
	x.first = nil
	x.edits.reset()
	x.changes.reset()
	x.tried = upstream.Tried{}
	x.report = telemetry.Report{
		Conn: x.session.report, Service: x.session.service,
		Start: x.started, BytesIn: int64(x.headSize),
	}
	x.engine.recorder.RequestBegan(&x.report)
	x.open = true
}

// pin looks up what the origin means in the newest tables, and stays with them.
func (x *exchange) pin() (known bool) {
	s := x.session
	if t := x.engine.tables.Load(); t != s.tables {
		service := t.Snapshot.Service(s.origin)
		if service == nil {
			return false
		}
		s.tables, s.service = t, service
	}
	x.report.Service = s.service
	return true
}

// startBody takes the part of the body that came with the head.
func (x *exchange) startBody() {
	x.body.Start(x.request.Framing())
	if x.body.Done() {
		return
	}
	rest := x.in[x.headSize:]
	data, n, err := x.body.Next(rest)
	x.report.BytesIn += int64(n)
	x.first = data
	x.bodyError(err)
	x.taken(n)
}

// taken notes that n bytes of in behind the head belong to this request.
func (x *exchange) taken(n int) { x.headSize += n }

func (x *exchange) route(known bool) *table.Rule {
	if !known {
		return nil
	}
	x.rule = route.Match(x.session.service, &x.request)
	x.report.Rule = x.rule
	if x.rule != nil {
		x.edits.add(&x.rule.Action.ResponseHeaders)
	}
	return x.rule
}

// end finishes the report and leaves in with what came after the request.
func (x *exchange) end() {
	x.deadline.Stop()
	x.client.OnReset(nil)
	x.client.OnEnd(nil)
	if !x.body.Done() {
		x.persist, x.linger = false, !x.upload.quiet
	}
	if x.report.End == 0 {
		x.report.End = x.engine.loop.Clock()
	}
	if x.request.Len() > 0 || x.headSize > 0 {
		x.report.Method, x.report.Path = x.request.Method(), x.request.Path()
	}
	x.open = false
	x.engine.recorder.RequestEnded(&x.report)
	x.report.Method, x.report.Path = nil, nil
	x.nextInput()
}

// abandon reports a request that a panic has ended.
func (x *exchange) abandon() {
	x.deadline.Stop()
	x.patience.Stop()
	if x.open {
		x.open = false
		x.report.Reason, x.report.End = telemetry.Panic, x.engine.loop.Clock()
		x.engine.recorder.RequestEnded(&x.report)
	}
}

// nextInput moves what was read behind this request to the front, for the next.
func (x *exchange) nextInput() {
	if x.upload.next != nil {
		x.engine.free(x.in)
		x.in, x.upload.next = x.upload.next, nil
		return
	}
	rest := copy(x.in, x.in[min(x.headSize, len(x.in)):])
	x.in = x.in[:rest]
	x.headSize = 0
}

// dropInput gives the read buffer back.
func (x *exchange) dropInput() {
	x.engine.free(x.in)
	x.in = nil
}

// drain reads and forgets what the client still sends, until it stops or the
// time is over.
func (x *exchange) drain(till int64) {
	x.client.ReadBy(till)
	scratch := x.engine.bodyBuffer(mediumBuffer)
	for {
		if _, err := x.client.Read(scratch[:cap(scratch)]); err != nil {
			break
		}
	}
	x.engine.free(scratch)
}

// interrupt ends the request for a reason that came from beside: a timer, the
// client, the upload. Whatever the exchange waits for fails at once, and it
// then finds the reason. The first reason stands.
func (x *exchange) interrupt(reason telemetry.Reason) {
	if x.cause != telemetry.None {
		return
	}
	x.cause = reason
	x.client.WriteBy(1)
	if x.up != nil {
		x.up.ReadBy(1)
		x.up.WriteBy(1)
	}
	x.pause.Set()
}

func (x *exchange) clientReset()     { x.interrupt(telemetry.ClientGone) }
func (x *exchange) requestTimedOut() { x.interrupt(telemetry.RequestTimeout) }

// faultReason translates the codec's error.
func faultReason(err error) telemetry.Reason {
	fault, ok := err.(*http1.Error)
	if !ok {
		return telemetry.BadRequest
	}
	switch fault.Status {
	case 413:
		return telemetry.BodyTooLarge
	case 414:
		return telemetry.TargetTooLong
	case 431:
		return telemetry.HeadTooLarge
	case 501:
		return telemetry.NotImplemented
	case 505:
		return telemetry.VersionNotSupported
	case 417:
		return telemetry.ExpectationFailed
	}
	return telemetry.BadRequest
}
