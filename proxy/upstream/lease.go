package upstream

import (
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/table"
)

// Lease is the right to use one endpoint for one attempt. It is used on the
// loop that acquired it, and Done exactly once.
type Lease struct {
	endpoint *Endpoint
	pools    *Pools
	members  *members
	pool     *pool // of the last Conn
	probe    bool
	learned  bool
}

// Endpoint is the endpoint that is leased.
func (l *Lease) Endpoint() *Endpoint { return l.endpoint }

// Probe reports that this attempt decides whether an ejected endpoint is used
// again.
func (l *Lease) Probe() bool { return l.probe }

// Table is the backend's configuration that the lease was given under.
func (l *Lease) Table() *table.Backend { return l.members.table }

// Conn returns a connection from the workload to the endpoint: an idle one
// (reused) or, when there is none or fresh is set, a new one, for which the
// coroutine waits. fresh is for a request that met a connection which the
// endpoint had closed already. An error is told apart by ConnectFault. The
// connection must be given to Keep or Drop, once.
func (l *Lease) Conn(workload uint32, fresh bool) (c *reactor.Conn, reused bool, err error) {
	return l.ConnBy(workload, fresh, 0)
}

// ConnBy is Conn that ends a connect at a time on the loop's clock, if that is
// before the backend's own bound; 0: never.
func (l *Lease) ConnBy(workload uint32, fresh bool, by int64) (c *reactor.Conn, reused bool, err error) {
	l.pool = l.pools.of(poolKey{l.endpoint, workload})
	if !fresh {
		if c := l.pools.take(l.pool); c != nil {
			return c, true, nil
		}
	}
	c, err = l.dial(workload, by)
	return c, false, err
}

// Keep gives a connection back that is between two messages: nothing unread,
// no writer, nobody waiting. It may be closed instead: the endpoint is gone, or
// there are enough.
func (l *Lease) Keep(c *reactor.Conn) {
	if l.endpoint.removed.Load() || l.pool.gone || c.Closed() || !l.pools.park(l.pool, c) {
		l.Drop(c)
	}
}

// Drop closes a connection. It may be called after Done, for a connection that
// became a tunnel.
func (l *Lease) Drop(c *reactor.Conn) {
	l.endpoint.connections.Add(-1)
	_ = c.Close() // closing twice is fine
}

// Learn tells the outcome before the lease is done, and Done's own then teaches
// nothing: when the response's head has come but its body, or a tunnel, may
// take hours, a probe must not wait for the end.
func (l *Lease) Learn(out Outcome) {
	if !l.learned {
		l.learned = true
		l.endpoint.learn(out, l.probe, l.pools.loop.Now())
	}
}

// Done ends the lease. Of a zero Lease and the second time it does nothing.
func (l *Lease) Done(out Outcome) {
	if l.members == nil {
		return
	}
	l.Learn(out)
	l.members = nil
	l.endpoint.inFlight.Add(-1)
	here := &l.endpoint.backend.loops[l.pools.index]
	here.live.Store(here.live.Load() - 1)
}
