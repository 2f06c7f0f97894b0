package l7

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// Owner is told when a session has ended: its connection is closed, and the
// report is to be finished. It is called on the loop, once.
type Owner interface {
	Ended(reason telemetry.Reason)
}

// Session is a client's connection that carries HTTP/1.x requests, one after
// the other (RFC 9112 9.3). Between requests it is all there is. It belongs to
// its engine's loop.
type Session struct {
	// set by Begin
	engine *Engine
	conn   *reactor.Conn
	owner  Owner
	report *telemetry.ConnReport
	origin netip.AddrPort

	// owned by the loop
	tables  *Tables
	service *table.Service
	// early is what was read before the session began, or with the request
	// before; nil nearly always.
	early    []byte
	current  *exchange // while a coroutine runs
	upgrade  *upgrade  // after a 101
	idleTill int64     // when an idle connection is closed; 0: never
	state    sessionState
	draining bool
	bulk     bool // the last response was large, so the next one may be
}

type sessionState uint8

const (
	active sessionState = iota // a coroutine runs
	parked                     // idle
	ended
)

// Begin makes conn an HTTP connection. early holds the bytes that were read
// from it already; they are copied. The report's service and origin are set.
// Must be called in a coroutine, which serves the first request when there is
// one; it returns when the connection is idle or over.
func (s *Session) Begin(e *Engine, conn *reactor.Conn, owner Owner, report *telemetry.ConnReport, early []byte) {
	s.engine, s.conn, s.owner, s.report = e, conn, owner, report
	s.origin, s.service = report.Origin, report.Service
	if len(early) == 0 {
		s.park()
		return
	}
	s.early = append(e.buffer(len(early)), early...)
	s.Run()
}

// Ready is reactor.Handler's: the idle connection has bytes, an end, or has been
// idle for too long.
func (s *Session) Ready(c *reactor.Conn) {
	s.state = active
	if s.idleTill != 0 && s.engine.loop.Now() >= s.idleTill {
		c.ReadBy(0)
		var one [1]byte
		if _, err := c.Peek(one[:]); err == syscall.EAGAIN {
			s.end(s.idleReason())
			return
		}
	}
	s.engine.loop.Go(s)
}

func (s *Session) idleReason() telemetry.Reason {
	if s.draining {
		return telemetry.Draining
	}
	return telemetry.IdleTimeout
}

// Run is reactor.Task's: it serves requests until the connection is idle or
// over. An exchange that a panic went through is not used again, and the client
// gets a reset, which cannot pass for the end of a response.
func (s *Session) Run() {
	x := s.engine.take(s)
	s.current = x
	clean := false
	defer func() {
		if !clean {
			x.abandon()
			s.conn.Abort()
			s.end(telemetry.Panic)
		}
	}()
	s.serve(x)
	clean = true
	s.current = nil
	s.engine.give(x)
}

func (s *Session) serve(x *exchange) {
	x.in, s.early = s.early, nil
	for {
		reason, ok := x.readHead()
		if !ok {
			x.dropInput()
			s.end(reason)
			return
		}
		x.handle()
		if s.upgrade != nil {
			x.dropInput()
			s.upgrade.begin()
			return
		}
		if !x.persist {
			s.close(x)
			return
		}
		if len(x.in) == 0 {
			x.dropInput()
			s.park()
			return
		}
	}
}

// drainIdle is how long a draining connection may be idle: its client was not told
// that it is the last response, so its next request may be on its way.
const drainIdle = 500 * time.Millisecond

// park waits for the next request without a coroutine and without a buffer.
func (s *Session) park() {
	s.state = parked
	s.idleTill = after(s.engine.loop.Now(), s.engine.limits.KeepAliveTimeout)
	if s.draining { // since the last response's head was written
		s.idleTill = after(s.engine.loop.Now(), drainIdle)
	}
	s.conn.ReadBy(s.idleTill)
	s.conn.Park(s)
}

// end closes the connection at once.
func (s *Session) end(reason telemetry.Reason) {
	if s.state == ended {
		return
	}
	s.state = ended
	_ = s.conn.Close() // whether or not it was closed by a reset or by the loop's end
	s.owner.Ended(reason)
}

// close ends a connection after the last response on it, in the way that lets
// the client read that response: where the client may still be sending, or has
// sent more than was asked for, a close would make the kernel answer with a
// reset, which may overtake it (RFC 9112 9.6).
func (s *Session) close(x *exchange) {
	reason := x.connReason
	if (x.linger || reason == telemetry.None && s.more(x)) && s.conn.CloseWrite() == nil {
		x.drain(after(s.engine.loop.Now(), s.engine.limits.LingerTimeout))
	}
	x.dropInput()
	s.end(reason)
}

// more says that there is input behind the last request.
func (s *Session) more(x *exchange) bool {
	var one [1]byte
	n, _ := s.conn.Peek(one[:])
	return n > 0 || len(x.in) > 0
}

// Drain makes the response in flight, or the next one, the last. Idle says that
// the connection is between requests, so that it may be closed with End.
func (s *Session) Drain() (idle bool) {
	s.draining = true
	return s.state == parked
}

// End closes the connection if it is idle. Where a request has come that the
// loop was not told of yet, a close would answer it with a reset: it is served,
// and is the last one if Drain said so.
func (s *Session) End(reason telemetry.Reason) {
	if s.state != parked {
		return
	}
	var one [1]byte
	if n, _ := s.conn.Peek(one[:]); n == 0 {
		s.end(reason)
	}
}

// Abort closes the connection, a request on it or not, with a reset.
func (s *Session) Abort() {
	switch {
	case s.state == parked:
		s.end(telemetry.Draining)
		return
	case s.upgrade != nil:
		s.upgrade.tunnel.Close(telemetry.Draining)
		return
	}
	s.conn.Abort()
	if s.current != nil {
		s.current.interrupt(telemetry.Draining)
	}
}

// endReason is why a connection is over after err, between requests.
func endReason(err error, began bool) telemetry.Reason {
	switch {
	case errors.Is(err, net.ErrClosed):
		return telemetry.Draining // by Abort, or the loop's end
	case errors.Is(err, os.ErrDeadlineExceeded) && began:
		return telemetry.ClientTimeout
	case errors.Is(err, os.ErrDeadlineExceeded):
		return telemetry.IdleTimeout
	case began, !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET):
		return telemetry.ClientGone
	}
	return telemetry.None // between requests a client may close as it likes
}

// Refresh lets an idle connection go on with the newest tables, so that it keeps
// nothing of older ones alive.
func (s *Session) Refresh() {
	if s.state != parked {
		return
	}
	t := s.engine.tables.Load()
	if service := t.Snapshot.Service(s.origin); service != nil {
		s.tables, s.service = t, service
	}
}
