package l7

import (
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"golang.org/x/sys/unix"
)

// send writes the head and all of the body that is at hand, and starts the
// upload of the rest. A fault of the connection is left to whoever reads the
// response: an endpoint may answer before it closes (RFC 9112 9.6).
func (x *exchange) send() telemetry.Reason {
	x.writeErr = nil
	head := x.request.AppendHead(x.engine.buffer(smallBuffer), &x.head)
	replay := x.upload.replay
	x.piece = piece{head: head, data: x.first, framing: x.head.Framing.Kind,
		last: x.body.Done() && len(replay) == 0, trailers: x.body.Trailers()}
	if len(x.first) <= copyLimit {
		head = x.framer.append(head, &x.piece)
		x.wrote(x.up.Write(head))
	} else {
		n, err := x.up.Writev(x.framer.vector(&x.piece))
		x.wrote(int(n), err)
	}
	x.engine.freeHead(head)
	if len(replay) > 0 && x.writeErr == nil {
		x.piece = piece{data: replay, framing: x.head.Framing.Kind, last: x.body.Done(), trailers: x.body.Trailers()}
		n, err := x.up.Writev(x.framer.vector(&x.piece))
		x.wrote(int(n), err)
	}
	if x.writeErr == nil {
		if x.body.Done() {
			x.watchEnd()
		} else {
			x.upload.start()
		}
	}
	return x.cause
}

func (x *exchange) wrote(n int, err error) {
	x.sent += n
	x.writeErr = err
}

// unacknowledged returns how many bytes written to the socket the peer has not
// acknowledged. The kernel still knows it after a reset (SIOCOUTQ is write_seq
// less snd_una, in every state but the first two).
func unacknowledged(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return -1
	}
	return n
}
