package proxy

import (
	"io"
	"net"
	"syscall"
	"time"

	"github.com/culvert-mesh/culvert/proxy/detect"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// Where a port declares nothing, the first bytes decide; but in some protocols
// the server speaks first, and a proxy that waits for the client would wait for
// ever. So detection dials on while it waits, and whoever speaks first ends the
// wait, whenever that is: an HTTP client may connect long before its first
// request (browsers do, and pools that are warmed up).

const (
	// detectGrace is how long the client may be silent before the dial: nearly
	// all clients that speak first do so at once, and then no dial is wasted.
	detectGrace = time.Millisecond
	// detectSilence is how long a client may be silent where no endpoint can be
	// reached: long enough for one that has a request to get an answer to it.
	detectSilence = 50 * time.Millisecond
	// detectStall is how long a client may stop within bytes that fit more than
	// one protocol; then it is TCP.
	detectStall = time.Second
)

// detection is a connection whose protocol is not known yet. While it waits it
// holds no coroutine: it is the handler of both sides and has the connection run
// again. It belongs to the connection's loop.
type detection struct {
	// set at construction
	c     *connection
	began int64

	// owned by the loop
	timer   reactor.Timer
	buf     []byte       // what the client has sent
	until   int64        // when silence means something; 0: it does not
	dialled *speculation // nil: not yet, or nobody to dial
	asked   bool         // the grace is over
	running bool         // the connection is being run, or has left detection
}

func newDetection(c *connection) *detection {
	now := c.worker.loop.Now()
	d := &detection{c: c, began: now, until: now + int64(detectGrace)}
	d.timer.F = d.resume
	return d
}

// detect finds out what the connection speaks: TCP for everything that is not to
// be read as HTTP, NeedMore while nobody has spoken; then the connection is run
// again. What was read and dialled for it is in c.detection.
func (c *connection) detect(service *table.Service) detect.Protocol {
	switch {
	case c.detection != nil: // it goes on, whatever the newest tables declare
	case service.Protocol == table.HTTP1:
		return detect.HTTP1
	case service.Protocol == table.Detect:
		c.detection = newDetection(c)
	default:
		return detect.TCP
	}
	d := c.detection
	d.running = true
	d.timer.Stop()
	c.client.Unpark()
	p, err := d.look(service)
	switch {
	case err != nil:
		c.refuse(gone(err))
		return detect.NeedMore
	case p == detect.NeedMore:
		d.wait()
		return p
	}
	// The client of a forward proxy wants its targets as they are and tunnels
	// (CONNECT): that passes as TCP, unless routes say that the service is an origin
	// server.
	if p == detect.HTTP1 || p == detect.ForwardProxy && service.Rules != nil {
		return detect.HTTP1
	}
	return detect.TCP
}

// gone is why a connection is over that fails before anybody has spoken.
func gone(err error) telemetry.Reason {
	if err == net.ErrClosed {
		return telemetry.Draining // by abort, or the loop's end
	}
	return telemetry.ClientGone
}

// look reads what the client has sent and judges; NeedMore: wait. An error says
// that there is no client any more.
func (d *detection) look(service *table.Service) (detect.Protocol, error) {
	scratch := d.c.worker.scratch[:]
	for {
		n, err := d.c.client.TryRead(scratch[:detect.Enough-len(d.buf)])
		switch err {
		case nil:
		case syscall.EAGAIN:
			return d.silent(service), nil
		case io.EOF:
			return detect.TCP, nil // whoever forwards passes it on
		default:
			return detect.NeedMore, err
		}
		d.buf = append(d.buf, scratch[:n]...)
		if p := detect.Verdict(d.buf); p != detect.NeedMore {
			return p, nil
		}
		d.until, d.asked = d.c.worker.loop.Now()+int64(detectStall), true
	}
}

// silent says what it means that the client has sent nothing (more).
func (d *detection) silent(service *table.Service) detect.Protocol {
	now := d.c.worker.loop.Now()
	if d.dialled.heard() {
		return detect.TCP
	}
	if d.until == 0 || now < d.until {
		return detect.NeedMore
	}
	switch {
	case len(d.buf) > 0:
		d.c.report.Detour = telemetry.DetectTimeout
		return detect.TCP
	case !d.asked:
		d.asked, d.until = true, now+int64(detectSilence)
		d.dialled = d.c.speculate(service, d)
	case d.dialled.pending():
		d.until = now + int64(detectSilence)
	case d.dialled.settle():
		d.until = 0 // both sides know each other, and have nothing to say
	case service.Rules == nil:
		return detect.TCP // which says why there is no endpoint
	default:
		d.until = 0 // a rule may have an answer all the same
	}
	return detect.NeedMore
}

// wait lets go of the coroutine until either side speaks, or the time is over.
func (d *detection) wait() {
	now, till := d.c.worker.loop.Now(), d.until
	if idle := int64(d.c.worker.server.config.Limits.TCPIdleTimeout); till == 0 && idle > 0 {
		if till = d.began + idle; till <= now {
			d.c.end(telemetry.IdleTimeout)
			return
		}
	}
	if till != 0 {
		d.c.worker.loop.After(&d.timer, time.Duration(till-now))
	}
	if d.asked {
		d.c.worker.recorder.ConnUndecided(&d.c.report)
	}
	d.running = false
	d.c.client.Park(d)
}

// resume has the connection run again.
func (d *detection) resume() {
	if !d.running {
		d.running = true
		d.c.worker.loop.Go(d.c)
	}
}

// Ready is reactor.Handler's: the client has sent something, or ended.
func (d *detection) Ready(*reactor.Conn) { d.resume() }

// leave gives up what is held for a connection that goes nowhere. Of nil it does
// nothing.
func (d *detection) leave() {
	if d == nil {
		return
	}
	d.running = true // for good
	d.timer.Stop()
	d.dialled.drop()
	d.dialled = nil
}

// drain closes a connection on which nobody has spoken. What has come and the loop
// was not told of yet is dealt with.
func (d *detection) drain() {
	var one [1]byte
	if n, _ := d.c.client.Peek(one[:]); n > 0 || d.running || len(d.buf) > 0 {
		return
	}
	d.c.end(telemetry.Draining)
}
