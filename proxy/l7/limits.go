package l7

import (
	"time"

	"github.com/culvert-mesh/culvert/proxy/http1"
)

// Limits bound what one client can make the proxy hold or wait for. The zero
// value of a field means its default; a negative duration means no limit.
type Limits struct {
	// Request bounds a request's head; the defaults are http1's: 64 KiB, 128
	// fields, a target of 8 KiB.
	Request http1.Limits
	// Response bounds a response's head; the defaults are http1's. All informational
	// ones before it together have 64 KiB, too.
	Response http1.Limits
	// HeadTimeout bounds the time from the first byte of a request's head to its
	// last; 30 s. Beyond: 408.
	HeadTimeout time.Duration
	// KeepAliveTimeout is how long a connection may be idle between requests; 10
	// minutes, longer than the clients of services keep theirs, because it is the
	// side that closes first that causes races.
	KeepAliveTimeout time.Duration
	// BodyTimeout bounds how long a client may send nothing in the middle of a
	// body; 5 minutes. Beyond: 408.
	BodyTimeout time.Duration
	// ResponseTimeout bounds how long an endpoint may send nothing in the middle
	// of a response's body; none, because streams of events are silent for hours;
	// keepalive probes find endpoints that are dead.
	ResponseTimeout time.Duration
	// WriteTimeout bounds how long a client may take nothing; 5 minutes.
	WriteTimeout time.Duration
	// LingerTimeout bounds how long a connection that is closed before its
	// request was read to the end is read on, so that the client gets the answer
	// before it gets a reset (RFC 9112 9.6); 2 s.
	LingerTimeout time.Duration
	// TrailTimeout bounds how long a client may be silent in a body that its
	// response has overtaken; 30 s. It has been told that the response was the
	// last one, so a client that stopped sending is hardly worth the wait.
	TrailTimeout time.Duration
	// ReplayBytes is how much of a request's body is kept until the response
	// begins, so that a failed attempt can be followed by another; 64 KiB. A
	// request with a longer body is tried once.
	ReplayBytes int
	// BufferBytes is how much the buffers of one loop may hold before bodies go
	// through 4 KiB each, and are not kept for a replay beyond that; 16 MiB. A body
	// holds its buffer for as long as its receiver takes nothing, so without a bound
	// a thousand slow receivers would cost 68 MiB. Heads count, but get what
	// they need: a request's of more than 16 KiB does until buffers hold four times
	// as much, and is answered with 431 from then on.
	BufferBytes int
}

// withDefaults fills in the zero values.
func (l Limits) withDefaults() Limits {
	duration := func(d *time.Duration, fallback time.Duration) {
		if *d == 0 {
			*d = fallback
		}
	}
	duration(&l.HeadTimeout, 30*time.Second)
	duration(&l.KeepAliveTimeout, 10*time.Minute)
	duration(&l.BodyTimeout, 5*time.Minute)
	duration(&l.ResponseTimeout, -1)
	duration(&l.WriteTimeout, 5*time.Minute)
	duration(&l.LingerTimeout, 2*time.Second)
	duration(&l.TrailTimeout, 30*time.Second)
	if l.ReplayBytes == 0 {
		l.ReplayBytes = 64 << 10
	}
	if l.BufferBytes == 0 {
		l.BufferBytes = 16 << 20
	}
	return l
}

// after is when a wait that begins now and may last d ends, as Conn.ReadBy
// takes it: 0 for never.
func after(now int64, d time.Duration) int64 {
	if d < 0 {
		return 0
	}
	return now + int64(d)
}
