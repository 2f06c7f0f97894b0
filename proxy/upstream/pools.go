package upstream

import (
	"sync/atomic"
	"time"

	"github.com/culvert-mesh/culvert/proxy/reactor"
)

// sweepEvery is how often pools that were not used since the last time are
// forgotten.
const sweepEvery = 30 * time.Second

// Pools holds a loop's idle connections. Its methods are for the loop, except
// Stats.
type Pools struct {
	// set at construction
	loop     *reactor.Loop
	registry *Registry
	index    int

	// owned by the loop
	byKey  map[poolKey]*pool
	oldest idleConn // sentinel of a ring: next is the one that is idle for longest
	count  int
	free   *idleConn // linked by inPool.next
	sweep  reactor.Timer

	// written by the loop, read anywhere
	stats struct {
		idle, opened, reused, expired, peerClosed, evicted atomic.Uint64
	}
}

// poolKey keeps identities apart: a connection belongs to one workload.
type poolKey struct {
	endpoint *Endpoint
	workload uint32
}

// pool is the idle connections of one key, the last one in the first one out:
// the rest may grow old and expire.
type pool struct {
	key  poolKey
	head *idleConn
	n    int
	used bool // since the last sweep
	gone bool // not in byKey any more
}

// idleConn is a parked connection's place, and its reactor.Handler.
type idleConn struct {
	pools   *Pools
	pool    *pool
	conn    *reactor.Conn
	expires int64

	newer, older *idleConn // ring of all, by age
	next, prev   *idleConn // list of the pool
}

func newPools(l *reactor.Loop, r *Registry) *Pools {
	p := &Pools{loop: l, registry: r, index: l.ID(), byKey: map[poolKey]*pool{}}
	p.oldest.newer, p.oldest.older = &p.oldest, &p.oldest
	p.sweep.F = p.sweepPools
	return p
}

// Loop is the loop that the pools belong to.
func (p *Pools) Loop() *reactor.Loop { return p.loop }

// of returns the pool of a key.
func (p *Pools) of(key poolKey) *pool {
	if q := p.byKey[key]; q != nil {
		q.used = true
		return q
	}
	q := &pool{key: key, used: true}
	p.byKey[key] = q
	if !p.sweep.Armed() {
		p.loop.After(&p.sweep, sweepEvery)
	}
	return q
}

// take returns an idle connection that is good as far as is known, or nil.
func (p *Pools) take(q *pool) *reactor.Conn {
	for q.head != nil {
		c := p.unlink(q.head)
		if c.Unpark() {
			c.ReadBy(0)
			c.WriteBy(0) // whoever kept it may have left one
			bump(&p.stats.reused)
			return c
		}
		// It has bytes, an end or an error that its handler was not yet told of.
		bump(&p.stats.peerClosed)
		p.close(q, c)
	}
	return nil
}

// park keeps c, and reports false when the pool is full.
func (p *Pools) park(q *pool, c *reactor.Conn) bool {
	limits := &p.registry.config.Pool
	if q.n >= limits.PerKey {
		bump(&p.stats.evicted)
		return false
	}
	if p.count >= limits.PerLoop {
		bump(&p.stats.evicted)
		p.discard(p.oldest.newer)
	}
	i := p.free
	if i == nil {
		i = &idleConn{pools: p}
	} else {
		p.free = i.next
	}
	i.pool, i.conn, i.expires = q, c, p.loop.Now()+int64(limits.IdleTimeout)
	i.prev, i.next = nil, q.head
	if q.head != nil {
		q.head.prev = i
	}
	q.head = i
	q.n++
	i.newer, i.older = &p.oldest, p.oldest.older
	i.older.newer, p.oldest.older = i, i
	p.count++
	p.stats.idle.Store(uint64(p.count))
	c.ReadBy(i.expires)
	c.Park(i) // last: it may find the connection closed
	return true
}

// unlink takes a place out of its lists, frees it and returns its connection.
func (p *Pools) unlink(i *idleConn) *reactor.Conn {
	c, q := i.conn, i.pool
	if i.prev != nil {
		i.prev.next = i.next
	} else {
		q.head = i.next
	}
	if i.next != nil {
		i.next.prev = i.prev
	}
	i.newer.older, i.older.newer = i.older, i.newer
	q.n--
	p.count--
	p.stats.idle.Store(uint64(p.count))
	*i = idleConn{pools: p, next: p.free}
	p.free = i
	return c
}

// Ready implements reactor.Handler: a parked connection's server spoke unasked
// or closed, it has been idle for too long, or the loop ends. In each case it
// is of no more use.
func (i *idleConn) Ready(c *reactor.Conn) {
	p := i.pools
	if i.conn != c {
		return // it was taken and closed in the same turn
	}
	if p.loop.Now() >= i.expires {
		bump(&p.stats.expired)
	} else {
		bump(&p.stats.peerClosed)
	}
	p.discard(i)
}

// discard closes an idle connection.
func (p *Pools) discard(i *idleConn) {
	q := i.pool // unlink frees i
	p.close(q, p.unlink(i))
}

func (p *Pools) close(q *pool, c *reactor.Conn) {
	q.key.endpoint.connections.Add(-1)
	_ = c.Close()
}

// closeAll closes a pool's idle connections and forgets the pool.
func (p *Pools) closeAll(q *pool) {
	for q.head != nil {
		p.discard(q.head)
	}
	q.gone = true
	delete(p.byKey, q.key)
}

// closeRemoved closes what is idle to endpoints that have left the snapshot.
func (p *Pools) closeRemoved() {
	for key, q := range p.byKey {
		if key.endpoint.removed.Load() {
			p.closeAll(q)
		}
	}
}

func (p *Pools) forget(workload uint32) {
	for key, q := range p.byKey {
		if key.workload == workload {
			p.closeAll(q)
		}
	}
}

// sweepPools forgets pools that were not used since the last sweep. A lease
// that still holds one closes its connection in place of keeping it.
func (p *Pools) sweepPools() {
	for _, q := range p.byKey {
		if !q.used && q.n == 0 {
			p.closeAll(q)
		}
		q.used = false
	}
	if len(p.byKey) > 0 {
		p.loop.After(&p.sweep, sweepEvery)
	}
}

// PoolStats is what a loop's pools have done. Idle is of now.
type PoolStats struct {
	Loop       int    `json:"loop"`
	Idle       uint64 `json:"idle"`
	Opened     uint64 `json:"opened"`
	Reused     uint64 `json:"reused"`
	Expired    uint64 `json:"expired"`
	PeerClosed uint64 `json:"peer_closed"`
	Evicted    uint64 `json:"evicted"`
}

// Stats may be called from any goroutine.
func (p *Pools) Stats() PoolStats {
	return PoolStats{
		Loop: p.index, Idle: p.stats.idle.Load(), Opened: p.stats.opened.Load(),
		Reused: p.stats.reused.Load(), Expired: p.stats.expired.Load(),
		PeerClosed: p.stats.peerClosed.Load(), Evicted: p.stats.evicted.Load(),
	}
}

// bump adds one to a counter that only this loop writes.
func bump(n *atomic.Uint64) { n.Store(n.Load() + 1) }
