package proxy

import (
	"syscall"
	"time"

	"github.com/culvert-mesh/culvert/proxy/detect"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// Where a port declares nothing, the first bytes decide; but in some protocols
// the server speaks first, and a proxy that waits for the client would wait for
// ever. So detection dials while it waits, and both sides may end the wait.

const (
	// detectGrace is how long the client may be silent before the dial: nearly
	// all clients that speak first do so at once, and then no dial is wasted.
	detectGrace = time.Millisecond
	// detectSilence is how long both sides may be silent; then it is TCP. It delays
	// nobody, because either side's first byte ends it: it is for how long a
	// coroutine is worth to those who connect ahead of time, or on a busy machine.
	detectSilence = 5 * time.Second
	// detectRefusal is how long a client may be silent where no endpoint was to be
	// had: it may wait for the server's word, which will not come.
	detectRefusal = 50 * time.Millisecond
	// detectStall is how long a client may stop within bytes that fit more than
	// one protocol; then it is TCP.
	detectStall = time.Second
	// detectPatience is how long a client may be silent on a port that has routes.
	detectPatience = 30 * time.Second
)

// speculation is a connection to an endpoint that was made before it was known
// whether it is needed. nil: none.
type speculation struct {
	c      *connection
	wake   *reactor.Signal
	lease  upstream.Lease
	up     *reactor.Conn
	ended  bool // the dial: up is there, or there will be none
	wanted bool // false: whoever dials gives it up
	spoke  bool // the server did
}

// detect finds out what the connection speaks. early is what was read for that.
// It returns TCP for everything that is not to be read as HTTP.
func (c *connection) detect(service *table.Service) (p detect.Protocol, early []byte, dialled *speculation) {
	switch {
	case service.Protocol == table.HTTP1:
		return detect.HTTP1, nil, nil
	case service.Protocol != table.Detect:
		return detect.TCP, nil, nil
	}
	now := c.worker.loop.Now()
	d := &detection{c: c, service: service, buf: make([]byte, 0, detect.Enough), until: now + int64(detectGrace)}
	d.silence, d.refusal = now+int64(detectSilence), now+int64(detectRefusal)
	if service.Rules != nil {
		// A route is attached, so it is HTTP's port: only the client can speak first.
		d.until, d.patient = now+int64(detectPatience), true
	}
	for {
		if p := d.look(); p != detect.NeedMore {
			return d.means(p), d.buf, d.dialled
		}
		if !d.wait() {
			c.report.Detour = telemetry.DetectTimeout
			return detect.TCP, d.buf, d.dialled
		}
	}
}

// detection is the state of detect.
type detection struct {
	c       *connection
	service *table.Service
	wake    reactor.Signal
	buf     []byte // what the client has sent
	until   int64  // when the present wait ends
	silence int64  // when both sides have been silent for too long
	refusal int64  // the same, where no endpoint was to be had
	patient bool   // the grace for the client is over, or there is nothing else to wait for
	dialled *speculation
}

// look reads what the client has sent and judges; NeedMore: wait.
func (d *detection) look() detect.Protocol {
	for {
		n, err := d.c.client.TryRead(d.buf[len(d.buf):cap(d.buf)])
		d.buf = d.buf[:len(d.buf)+n]
		switch {
		case n > 0:
			if p := detect.Verdict(d.buf); p != detect.NeedMore {
				return p
			}
			d.until, d.patient = d.c.worker.loop.Now()+int64(detectStall), true
		case err != nil && err != syscall.EAGAIN:
			return detect.TCP // whoever forwards passes the end on
		case d.dialled != nil && d.dialled.spoke:
			return detect.TCP
		case d.dialled != nil && d.dialled.failed() && len(d.buf) == 0:
			d.until = d.refusal
			return detect.NeedMore
		default:
			return detect.NeedMore
		}
	}
}

// wait waits for either side; false: the time is over.
func (d *detection) wait() bool {
	loop := d.c.worker.loop
	d.c.client.Park(d)
	woken := d.wake.WaitUntil(loop, d.until)
	d.c.client.Unpark()
	if woken || loop.Now() < d.until {
		return true
	}
	if d.patient {
		return false
	}
	d.dialled = d.c.speculate(d.service, &d.wake)
	d.until, d.patient = d.silence, true
	if d.dialled == nil {
		d.until = d.refusal
	}
	return true
}

// Ready is reactor.Handler's: the client has sent something, or ended.
func (d *detection) Ready(*reactor.Conn) { d.wake.Set() }

// means is what follows from the protocol of a port that declares none. The client
// of a forward proxy wants its targets as they are and tunnels (CONNECT): that
// passes as TCP, unless routes say that the service is an origin server.
func (d *detection) means(p detect.Protocol) detect.Protocol {
	if p == detect.HTTP1 || p == detect.ForwardProxy && d.service.Rules != nil {
		return detect.HTTP1
	}
	return detect.TCP
}

// speculate begins to dial the service's backend, if it has one.
func (c *connection) speculate(service *table.Service, wake *reactor.Signal) *speculation {
	if service.Backend == nil {
		return nil
	}
	backend := c.tables.View.Backend(service.Backend)
	lease, reason := backend.Acquire(c.worker.pools, nil)
	if reason != telemetry.None {
		return nil // whoever needs the endpoint says why there is none
	}
	s := &speculation{c: c, wake: wake, lease: lease, wanted: true}
	c.worker.loop.Go(s)
	return s
}

// Run is reactor.Task's: the dial.
func (s *speculation) Run() {
	up, _, err := s.lease.Conn(s.c.workload.ID, true)
	s.ended = true
	if err != nil {
		outcome, _ := upstream.ConnectFault(err)
		s.lease.Done(outcome)
		s.wake.Set()
		return
	}
	s.up = up
	if !s.wanted {
		s.release()
		return
	}
	up.Park(s)
	s.wake.Set()
}

// Ready is reactor.Handler's: the server spoke first, or closed.
func (s *speculation) Ready(*reactor.Conn) {
	s.spoke = true
	s.wake.Set()
}

// failed says that there will be no connection.
func (s *speculation) failed() bool { return s.ended && s.up == nil }

// release gives an unused connection to the pool.
func (s *speculation) release() {
	s.lease.Keep(s.up)
	s.lease.Done(upstream.OK)
}

// give gives up the connection: it is HTTP, which takes its own from the pool.
func (s *speculation) give() {
	if s == nil {
		return
	}
	s.wanted = false
	if s.up == nil {
		return
	}
	if s.spoke || !s.up.Unpark() {
		s.lease.Drop(s.up)
		s.lease.Done(upstream.Cancelled)
		return
	}
	s.release()
}

// take hands the connection to c, waiting for the dial where it is under way.
func (s *speculation) take(c *connection) bool {
	if s == nil {
		return false
	}
	for !s.ended {
		if !s.wake.Wait(c.worker.loop) && !s.ended {
			s.wanted = false // the loop is ending
			return false
		}
	}
	if s.up == nil {
		return false
	}
	s.up.Unpark()
	c.lease, c.up = s.lease, s.up
	c.report.Endpoint = c.lease.Endpoint().Addr()
	c.lease.Learn(upstream.OK)
	return true
}
