package proxy

import (
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// speculation is a connection to an endpoint that was made before it was known
// whether it is needed. nil: none. It belongs to the connection's loop.
type speculation struct {
	c       *connection
	d       *detection
	backend *upstream.Backend
	tried   upstream.Tried
	lease   upstream.Lease
	up      *reactor.Conn
	done    reactor.Signal
	ended   bool // the dial: up is there, or there will be none
	wanted  bool // false: whoever dials gives it up
	pooled  bool // to the pool
	spoke   bool // the server did
}

// speculate begins to dial the service's backend, if it has an endpoint.
func (c *connection) speculate(service *table.Service, d *detection) *speculation {
	if service.Backend == nil {
		return nil
	}
	s := &speculation{c: c, d: d, wanted: true, backend: c.tables.View.Backend(service.Backend)}
	var reason telemetry.Reason
	if s.lease, reason = s.backend.Acquire(c.worker.pools, &s.tried); reason != telemetry.None {
		return nil // whoever needs the endpoint says why there is none
	}
	c.worker.loop.Go(s)
	return s
}

// Run is reactor.Task's: the dial, at one endpoint after the other.
func (s *speculation) Run() {
	defer s.finish()
	for range connectTries {
		up, _, err := s.lease.Conn(s.c.workload.ID, true)
		if err == nil {
			s.up = up
			return
		}
		outcome, reason := upstream.ConnectFault(err)
		s.lease.Done(outcome)
		if !s.wanted {
			return
		}
		if s.lease, reason = s.backend.Acquire(s.c.worker.pools, &s.tried); reason != telemetry.None {
			return
		}
	}
}

// finish is the end of the dial, also through a panic.
func (s *speculation) finish() {
	s.ended = true
	s.done.Set()
	switch {
	case s.up == nil:
		s.lease.Done(upstream.Cancelled)
		if s.wanted {
			s.d.resume()
		}
	case s.wanted:
		s.up.Park(s)
	case s.pooled:
		s.lease.Keep(s.up)
		s.lease.Done(upstream.Cancelled)
	default:
		s.drop()
	}
}

// Ready is reactor.Handler's: the server spoke first, or closed.
func (s *speculation) Ready(*reactor.Conn) {
	s.spoke = true
	s.d.resume()
}

// heard says that the server has spoken, or closed.
func (s *speculation) heard() bool { return s != nil && s.spoke }

// pending says that the dial is not over.
func (s *speculation) pending() bool { return s != nil && !s.ended }

// settle says that there is a connection, which may wait for long: if it is the
// probe of an ejected endpoint, that the connect went well must do, because no
// other request gets there meanwhile.
func (s *speculation) settle() bool {
	if s == nil || s.up == nil {
		return false
	}
	if s.lease.Probe() {
		s.lease.Learn(upstream.OK)
	}
	return true
}

// give gives the connection to the pool, as far as that has room: it is HTTP, which
// takes its own from there. A mere connect says nothing about how the endpoint
// answers requests.
func (s *speculation) give() {
	switch {
	case s == nil:
	case !s.ended:
		s.wanted, s.pooled = false, true // by whoever dials
	case s.up == nil:
	case s.spoke || !s.up.Unpark():
		s.drop()
	default:
		s.lease.Keep(s.up)
		s.lease.Done(upstream.Cancelled)
		s.up = nil
	}
}

// drop closes the connection: whose it would have been is gone.
func (s *speculation) drop() {
	switch {
	case s == nil:
	case !s.ended:
		s.wanted, s.pooled = false, false // whoever dials does it
	case s.up != nil:
		s.lease.Drop(s.up)
		s.lease.Done(upstream.Cancelled)
		s.up = nil
	}
}

// take hands the connection to c, waiting for the dial where it is under way.
func (s *speculation) take(c *connection) bool {
	if s == nil {
		return false
	}
	for !s.ended {
		if !s.done.Wait(c.worker.loop) && !s.ended {
			s.wanted = false // the loop is ending
			return false
		}
	}
	if s.up == nil {
		return false
	}
	s.up.Unpark()
	c.lease, c.up = s.lease, s.up
	s.lease, s.up = upstream.Lease{}, nil
	c.report.Endpoint = c.lease.Endpoint().Addr()
	c.lease.Learn(upstream.OK)
	return true
}
