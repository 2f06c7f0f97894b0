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
	http       l7.Session
	tunnel     *l4.Tunnel     // nil: none
	lease      upstream.Lease // of the tunnel
	up         *reactor.Conn
	next, prev *connection // of the worker's list
}

// run is the path of a connection, from accept to report.
func (c *connection) run() {
	origin, ok := c.worker.server.config.Origins.Origin(c.client.LocalAddrPort()) // what the client dialled
	if !ok {
		c.refuse(telemetry.UnknownOrigin)
		return
	}
	c.report.Origin = origin
	c.tables = c.worker.server.tables.Load()
	defer func() { c.tables = nil }()
	service := c.tables.Snapshot.Service(origin) // what that means
	if service == nil {
		c.refuse(telemetry.UnknownOrigin)
		return
	}
	c.report.Service = service
	protocol, early, speculative := c.detect(service) // what is spoken
	c.report.HTTP = protocol == detect.HTTP1
	c.worker.recorder.ConnOpened(&c.report)
	if c.report.HTTP {
		speculative.give()
		c.http.Begin(c.worker.engine, c.client, c, &c.report, early) // route, lease, forward, settle: per request
		return
	}
	c.forward(service, early, speculative) // lease, forward, settle: once
}

// Run is reactor.Task's. A panic ends this connection only.
func (c *connection) Run() {
	clean := false
	defer func() {
		if !clean {
			c.refuse(telemetry.Panic)
		}
	}()
	c.run()
	clean = true
}

// forward moves bytes both ways between the client and an endpoint.
func (c *connection) forward(service *table.Service, early []byte, dialled *speculation) {
	if reason := c.dial(service, dialled); reason != telemetry.None {
		c.refuse(reason)
		return
	}
	c.tunnel = l4.Start(l4.Config{
		Client: c.client, Upstream: c.up, FromClient: early,
		Idle: c.worker.server.config.Limits.TCPIdleTimeout, Buffers: &c.worker.pipes, Meter: c.report.Flow(),
	}, c.forwarded)
}

// connectTries is how many endpoints a TCP connection is tried at: a connect
// that failed has sent nothing, so another endpoint is always right.
const connectTries = 3

// dial leases an endpoint and connects to it, unless detection has.
func (c *connection) dial(service *table.Service, dialled *speculation) (reason telemetry.Reason) {
	if service.Backend == nil {
		return telemetry.NoBackend
	}
	c.report.Backend = service.Backend
	var tried upstream.Tried
	if dialled.take(c) {
		return telemetry.None
	}
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
	c.client.Abort()
	c.Ended(reason)
}

// Ended is l7.Owner's, and the end of every connection: the report.
func (c *connection) Ended(reason telemetry.Reason) {
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
	default:
		c.client.Abort() // being detected or dialled: its coroutine finds out
	}
}
