package l7

import (
	"bytes"

	"github.com/culvert-mesh/culvert/proxy/http1"
	"github.com/culvert-mesh/culvert/proxy/l4"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// upgrade is what a session has become after a 101 (RFC 9110 7.8): bytes both ways
// until both sides are done. The request is settled and reported by then, and its
// exchange, buffers and coroutine are given back, because a tunnel may last for
// days. The lease is held as long as it does.
type upgrade struct {
	session *Session
	lease   upstream.Lease
	up      *reactor.Conn
	tunnel  *l4.Tunnel
	// what was read behind the two heads
	fromClient, fromUpstream []byte
}

// switchProtocols forwards a 101 and leaves its connections to a tunnel, which the
// session begins when the request is over.
func (x *exchange) switchProtocols() {
	e := x.engine
	x.deadline.Stop()
	x.client.OnEnd(nil) // the tunnel passes it on behind the bytes
	x.persist = false
	x.reply = http1.ResponseHead{ClientMinor: x.request.Minor, Edits: x.edits.list}
	x.replyBody.Start(x.response.Framing())
	head := x.response.AppendHead(e.buffer(smallBuffer), &x.reply)
	ok := x.pass(head, nil)
	e.freeHead(head)
	if !ok {
		x.lost(telemetry.ClientGone)
		return
	}
	x.outcome, x.attempt.Outcome = upstream.OK, telemetry.OutcomeOK
	x.lease.Learn(x.outcome)
	x.session.upgrade = &upgrade{
		session: x.session, lease: x.lease, up: x.up,
		fromClient: bytes.Clone(x.in[x.headSize:]), fromUpstream: bytes.Clone(x.out[x.replySize:]),
	}
	x.lease, x.up, x.headSize = upstream.Lease{}, nil, len(x.in)
}

func (u *upgrade) begin() {
	s := u.session
	u.tunnel = l4.Start(l4.Config{
		Client: s.conn, Upstream: u.up, Buffers: &s.engine.pipes, Meter: s.report.Flow(),
		FromClient: u.fromClient, FromUpstream: u.fromUpstream,
	}, u.ended)
	u.fromClient, u.fromUpstream = nil, nil
}

// ended is called when the tunnel has ended; both sides are closed.
func (u *upgrade) ended(r l4.Result) {
	u.lease.Drop(u.up)
	u.lease.Done(upstream.OK) // learned already
	u.session.report.BytesIn += int64(r.In)
	u.session.report.BytesOut += int64(r.Out)
	u.session.end(r.Reason)
}
