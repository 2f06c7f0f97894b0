package proxy

import (
	"github.com/culvert-mesh/culvert/proxy/detect"
	"github.com/culvert-mesh/culvert/proxy/l4"
	"github.com/culvert-mesh/culvert/proxy/l7"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// connection is one connection of a client, for as long as it is open. It
// belongs to one loop.
type connection struct {
	// set at accept
	worker   *worker
	workload *workload
	client   *reactor.Conn
	report   telemetry.ConnReport

	// owned by the loop
	// tables are those that the service is of, until an endpoint is found: an
	// index of one snapshot means another backend in the next.
	tables     *l7.Tables
	detection  *detection // nil: not yet, not needed, or over
	http       l7.Session
	tunnel     *l4.Tunnel     // nil: none
	lease      upstream.Lease // of the tunnel
	up         *reactor.Conn
	next, prev *connection // of the worker's list
}

// run is the path of a connection, from accept to report. While nobody has spoken
// where the first bytes are to decide it ends early, and begins anew, with the
// newest tables, when somebody does.
func (c *connection) run() {
	service := c.meaning() // what the client dialled, and what that means
	if service == nil {
		c.refuse(telemetry.UnknownOrigin)
		return
	}
	c.report.Service = service
	switch c.detect(service) { // what is spoken
	case detect.NeedMore:
	case detect.HTTP1:
		c.carry() // route, lease, forward, settle: per request
	default:
		c.forward(service) // lease, forward, settle: once
	}
}

// meaning finds the service of a connection in the newest tables; nil: none.
func (c *connection) meaning() *table.Service {
	origin, ok := c.worker.server.config.Origins.Origin(c.client.LocalAddrPort())
	if !ok {
		return nil
	}
	c.report.Origin = origin
	c.tables = c.worker.server.tables.Load()
	return c.tables.Snapshot.Service(origin)
}

// carry has the client's requests served, one after the other.
func (c *connection) carry() {
	c.report.HTTP = true
	c.worker.recorder.ConnOpened(&c.report)
	early := c.detected()
	c.http.Begin(c.worker.engine, c.client, c, &c.report, early)
}

// detected ends detection where it is HTTP and returns what it has read.
func (c *connection) detected() (early []byte) {
	if d := c.detection; d != nil {
		early = d.buf
		d.dialled.give()
		d.dialled = nil
		d.leave()
		c.detection = nil
	}
	return early
}

// Run is reactor.Task's. A panic ends this connection only.
func (c *connection) Run() {
	clean := false
	defer func() {
		c.tables = nil
		if !clean {
			c.lease.Done(upstream.Cancelled)
			c.refuse(telemetry.Panic)
		}
	}()
	c.run()
	clean = true
}

// forward moves bytes both ways between the client and an endpoint.
func (c *connection) forward(service *table.Service) {
	c.worker.recorder.ConnOpened(&c.report)
	var early []byte
	if c.detection != nil {
		early = c.detection.buf
	}
	if reason := c.dial(service); reason != telemetry.None {
		c.refuse(reason)
		return
	}
	c.detection = nil
	c.tunnel = l4.Start(l4.Config{
		Client: c.client, Upstream: c.up, FromClient: early,
		Idle: c.worker.server.config.Limits.TCPIdleTimeout, Buffers: &c.worker.pipes, Meter: c.report.Flow(),
	}, c.forwarded)
}

// connectTries is how many endpoints a TCP connection is tried at: a connect
// that failed has sent nothing, so another endpoint is always right.
const connectTries = 3

// dial leases an endpoint and connects to it, unless detection has.
func (c *connection) dial(service *table.Service) (reason telemetry.Reason) {
	if service.Backend == nil {
		return telemetry.NoBackend
	}
	c.report.Backend = service.Backend
	if c.detection != nil && c.detection.dialled.take(c) {
		return telemetry.None
	}
	var tried upstream.Tried
	backend := c.tables.View.Backend(service.Backend)
	for range connectTries {
		if c.lease, reason = backend.Acquire(c.worker.pools, &tried); reason != telemetry.None {
			return reason
		}
		c.report.Endpoint = c.lease.Endpoint().Addr()
		var err error
		// Fresh: what is in the pool has carried HTTP.
		if c.up, _, err = c.lease.Conn(c.workload.ID, true); err == nil {
			c.lease.Learn(upstream.OK)
			return telemetry.None
		}
		var outcome upstream.Outcome
		outcome, reason = upstream.ConnectFault(err)
		c.lease.Done(outcome)
	}
	return reason
}

// forwarded is called when the tunnel has ended; both sides are closed.
func (c *connection) forwarded(r l4.Result) {
	c.lease.Drop(c.up)
	c.lease.Done(upstream.Cancelled) // the connect has taught what there was
	c.report.BytesIn, c.report.BytesOut = int64(r.In), int64(r.Out)
	c.Ended(r.Reason)
}

// refuse ends a connection that goes nowhere, with a reset: the client shall not
// take it for an answer.
func (c *connection) refuse(reason telemetry.Reason) {
	c.detection.leave()
	c.client.Abort()
	c.Ended(reason)
}

// end closes a connection on which nobody has spoken.
func (c *connection) end(reason telemetry.Reason) {
	c.detection.leave()
	_ = c.client.Close()
	c.Ended(reason)
}

// drain makes the next response the last one. A connection that is idle is closed
// later, by drained. Bytes without meaning end when their sides do.
func (c *connection) drain() { c.http.Drain() }

func (c *connection) drained() {
	if c.detection != nil {
		c.detection.drain()
		return
	}
	c.http.End(telemetry.Draining)
}

// Ended is l7.Owner's, and the end of every connection: the report.
func (c *connection) Ended(reason telemetry.Reason) {
	c.detection = nil
	if c.worker.remove(c) {
		c.report.End = c.worker.loop.Clock()
		c.report.Reason = reason
		c.worker.recorder.ConnEnded(&c.report)
	}
}

// abort ends the connection now.
func (c *connection) abort() {
	switch {
	case c.tunnel != nil:
		c.tunnel.Close(telemetry.Draining)
	case c.report.HTTP:
		c.http.Abort()
	case c.detection != nil && !c.detection.running:
		c.refuse(telemetry.Draining)
	default:
		c.client.Abort() // its coroutine finds out
	}
}
