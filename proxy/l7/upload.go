package l7

import (
	"net"
	"os"
	"time"

	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// uploader sends on the part of a request's body that did not come with its
// head. It is a task of its own, so that the response may begin, and end, before
// the body does. Each attempt starts it anew; what earlier attempts took from
// the client is in replay.
type uploader struct {
	x *exchange

	// of the request
	replay     []byte // body bytes behind exchange.first; nil: none
	overflowed bool   // more than replay holds was taken from the client
	next       []byte // what was read behind the body: the next request; nil: nothing

	// of the attempt
	running  bool
	stopping bool
	broken   bool // the endpoint takes no more; what it answers still counts
	trailing bool // the response is complete; see exchange.trail
	quiet    bool // the client sent nothing more while trailing
	done     reactor.Signal
	framer   framer
	piece    piece
}

// begin is called once per request, end after its last attempt.
func (u *uploader) begin() {
	u.overflowed, u.broken, u.quiet = false, false, false
}

func (u *uploader) end() {
	u.x.engine.free(u.replay)
	u.replay = nil
}

// start lets the upload run beside the attempt.
func (u *uploader) start() {
	u.running, u.stopping, u.broken, u.trailing = true, false, false, false
	u.quiet = false
	u.x.engine.loop.Go(u)
}

// stop returns when the upload does not run any more. It can be started again:
// no byte is lost by stopping.
func (u *uploader) stop() {
	if !u.running {
		return
	}
	u.stopping = true
	x := u.x
	x.client.ReadBy(1)
	if x.up != nil {
		x.up.WriteBy(1)
	}
	for u.running {
		if !u.done.Wait(x.engine.loop) && u.running {
			x.engine.loop.Yield() // the loop is ending, and the upload with it
		}
	}
	x.client.ReadBy(0)
	if x.up != nil {
		x.up.WriteBy(0)
	}
}

// Run is reactor.Task's. A panic ends the request.
func (u *uploader) Run() {
	clean := false
	defer func() {
		if !clean {
			u.x.interrupt(telemetry.Panic)
		}
		u.finished()
	}()
	u.upload()
	clean = true
}

func (u *uploader) upload() {
	x := u.x
	for !x.body.Done() && !u.stopping && !u.broken {
		x.client.ReadBy(after(x.engine.loop.Now(), u.patience()))
		if err := x.client.Await(); err != nil {
			u.readFault(err)
			return
		}
		if !u.step() {
			return
		}
	}
}

func (u *uploader) finished() {
	u.running = false
	u.done.Set()
	if u.x.body.Done() && !u.stopping && !u.broken && !u.trailing {
		u.x.watchEnd()
	}
	if u.trailing && u.x.up != nil {
		u.x.up.ReadBy(1) // wakes trail
	}
}

// patience is how long the client may be silent.
func (u *uploader) patience() time.Duration {
	if u.trailing {
		return u.x.engine.limits.TrailTimeout
	}
	return u.x.engine.limits.BodyTimeout
}

// step moves one read's worth of body from the client to the endpoint.
func (u *uploader) step() bool {
	x := u.x
	buf := x.engine.bodyBuffer(largeBuffer)
	n, err := x.client.Read(buf[:cap(buf)])
	if err != nil {
		x.engine.free(buf)
		u.readFault(err)
		return false
	}
	data, used, err := x.body.Next(buf[:n])
	x.report.BytesIn += int64(used)
	u.keep(data)
	if err == nil {
		u.broken = !u.write(data)
	}
	if used < n {
		u.next = append(x.engine.buffer(n-used), buf[used:n]...)
	}
	x.engine.free(buf)
	x.bodyError(err)
	return err == nil
}

// keep remembers data for another attempt, while there may be one and as far as
// the limit goes.
func (u *uploader) keep(data []byte) {
	if u.overflowed || len(data) == 0 {
		return
	}
	e := u.x.engine
	limit := e.limits.ReplayBytes
	grows := cap(u.replay)-len(u.replay) < len(data)
	if u.x.committed || u.x.informed || len(u.x.first)+len(u.replay)+len(data) > limit ||
		grows && len(u.replay)+len(data) > smallBuffer && e.full() {
		e.free(u.replay)
		u.replay, u.overflowed = nil, true
		return
	}
	if grows {
		grown := append(e.buffer(max(2*cap(u.replay), len(u.replay)+len(data))), u.replay...)
		e.free(u.replay)
		u.replay = grown
	}
	u.replay = append(u.replay, data...)
}

// write sends data in the body's framing, and the end of the body behind the
// last of it. False: the endpoint takes no more, which is for the reader of its
// response to make sense of.
func (u *uploader) write(data []byte) bool {
	x := u.x
	u.piece = piece{data: data, framing: x.head.Framing.Kind, last: x.body.Done(), trailers: x.body.Trailers()}
	sent, err := x.up.Writev(u.framer.vector(&u.piece))
	x.sent += int(sent)
	return err == nil
}

// readFault settles that the client sends no more of a body that it owes.
func (u *uploader) readFault(err error) {
	switch {
	case u.stopping:
	case u.trailing: // the client has its response; it may end as it likes
		u.quiet = true
	case err == net.ErrClosed: // by Abort, or the loop's end
		u.x.interrupt(telemetry.Draining)
	case err == os.ErrDeadlineExceeded:
		u.x.interrupt(telemetry.ClientTimeout)
	default: // also an end in order: RFC 9112 8, the message is incomplete
		u.x.interrupt(telemetry.ClientGone)
	}
}

// bodyError settles a fault in the framing of the request's body; nil is none.
func (x *exchange) bodyError(err error) {
	if err != nil {
		x.interrupt(faultReason(err))
	}
}
