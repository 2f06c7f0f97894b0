package l7

import (
	"io"

	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// A client that has sent its requests may end its side and read on, or may have
// given up: the end looks the same, and only the application knows what it makes
// of it. So it is passed on, as if no proxy were there: most servers take it for
// the latter and stop working.

// clientEnd is the end of the client's side while it waits for a response.
type clientEnd struct {
	passed bool // to the endpoint of this attempt, behind the request
	late   bool // it came after the request: rather somebody who gave up
}

// watchEnd is called when the request has been sent whole.
func (x *exchange) watchEnd() {
	if x.client.PeerEnded() {
		x.passEnd()
		return
	}
	x.client.OnEnd(x.onEnd)
}

// clientEnded is called on the loop.
func (x *exchange) clientEnded() {
	x.ended.late = true
	x.passEnd()
}

// passEnd ends our side towards the endpoint, unless there are more requests before
// the client's end.
func (x *exchange) passEnd() {
	if x.up == nil || x.upload.next != nil || len(x.in) > x.headSize {
		return
	}
	var one [1]byte
	if _, err := x.client.Peek(one[:]); err != io.EOF {
		return
	}
	x.ended.passed = true
	_ = x.up.CloseWrite() // a fault shows when the response is read
}

// gaveUp says that the endpoint's end is its answer to the client's.
func (x *exchange) gaveUp(err error) bool {
	if !x.ended.passed || !gone(err) {
		return false
	}
	if x.cause == telemetry.None {
		x.cause = telemetry.ClientGone
	}
	return true
}
