package upstream

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/table"
)

// Dialer opens an unconnected, non-blocking TCP socket (not MPTCP) in a
// workload's network namespace. It is called on a loop and must not block.
type Dialer interface {
	Socket(workload uint32, ipv6 bool) (fd int, err error)
}

// Config describes a Registry.
type Config struct {
	// Loops is the number of loops that will have Pools.
	Loops  int
	Dialer Dialer
	// Random returns 64 uniform bits, from any goroutine; nil: math/rand/v2.
	Random func() uint64
	// Changed is told each change of an endpoint's health, by the goroutine in
	// Run, in order. It may block: no loop waits for it. Changes that come while
	// changeQueue of them wait are dropped and counted. May be nil.
	Changed func(Change)
	Pool    PoolConfig
}

// PoolConfig bounds what is kept idle. Zero fields mean the defaults.
type PoolConfig struct {
	// PerKey bounds the idle connections of one workload to one endpoint, on
	// one loop; what comes back beyond it is closed. 0: 512.
	PerKey int
	// PerLoop bounds all idle connections of one loop; the one idle for longest
	// is closed for a new one. 0: 4096.
	PerLoop int
	// IdleTimeout closes a connection that was idle for so long. 0: 4 s, just
	// below the 5 s after which Node.js, Apache httpd and uvicorn close theirs,
	// so that a request hardly ever meets a connection that is being closed.
	IdleTimeout time.Duration
	// UserTimeout is TCP_USER_TIMEOUT: how long sent bytes may stay without an
	// acknowledgement, or wait for a peer that takes none. 0: 20 s. Not shorter:
	// it also ends an upload to a server that stops reading for so long.
	UserTimeout time.Duration
}

const (
	defaultPerKey      = 512
	defaultPerLoop     = 4096
	defaultIdleTimeout = 4 * time.Second
	defaultUserTimeout = 20 * time.Second

	changeQueue = 256
)

// Registry is the live side of all backends.
type Registry struct {
	// set at construction
	config  Config
	changes chan Change
	dropped atomic.Uint64

	// guarded by mu
	mu       sync.Mutex
	backends map[string]*Backend
	pools    []*Pools
}

// NewRegistry makes an empty one.
func NewRegistry(c Config) *Registry {
	if c.Random == nil {
		c.Random = rand.Uint64
	}
	c.Pool.PerKey = orInt(c.Pool.PerKey, defaultPerKey)
	c.Pool.PerLoop = orInt(c.Pool.PerLoop, defaultPerLoop)
	if c.Pool.IdleTimeout <= 0 {
		c.Pool.IdleTimeout = defaultIdleTimeout
	}
	if c.Pool.UserTimeout <= 0 {
		c.Pool.UserTimeout = defaultUserTimeout
	}
	return &Registry{
		config:   c,
		changes:  make(chan Change, changeQueue),
		backends: map[string]*Backend{},
	}
}

func orInt(n, fallback int) int {
	if n <= 0 {
		return fallback
	}
	return n
}

// Run hands changes to Config.Changed until ctx is done.
func (r *Registry) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-r.changes:
			if r.config.Changed != nil {
				r.config.Changed(c)
			}
		}
	}
}

// View joins one snapshot's backends to their live side.
type View struct{ backends []*Backend }

// Backend returns the live side of a backend of the view's snapshot, and of no
// other; nil for nil.
func (v *View) Backend(t *table.Backend) *Backend {
	if t == nil {
		return nil
	}
	return v.backends[t.Index]
}

// Apply makes s the snapshot that leases are given from, at once for all
// loops, also for requests that still look at an older View: an endpoint that
// is gone gets no new request. A backend that is gone altogether goes on as it
// was for those who hold an older View. Calls are serialised.
func (r *Registry) Apply(s *table.Snapshot) *View {
	v := &View{backends: make([]*Backend, len(s.Backends))}
	pools, removed, revived := r.move(s, v)
	for _, e := range revived {
		r.tell(e.change(Ejected, Last))
	}
	if removed {
		for _, p := range pools {
			p.loop.Post(p.closeRemoved)
		}
	}
	return v
}

// move is Apply as far as mu is needed.
func (r *Registry) move(s *table.Snapshot, v *View) (pools []*Pools, removed bool, revived []*Endpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := make(map[string]*Backend, len(s.Backends))
	for i, t := range s.Backends {
		b := r.backends[t.Name]
		if b == nil {
			b = newBackend(t.Name, r)
		}
		gone, again := b.apply(t)
		removed = removed || gone
		if again != nil {
			revived = append(revived, again)
		}
		next[t.Name], v.backends[i] = b, b
	}
	for name, b := range r.backends {
		if next[name] == nil && b.remove() {
			removed = true
		}
	}
	r.backends = next
	return r.pools, removed, revived
}

// Forget closes the idle connections of a workload that is gone, soon, on
// every loop.
func (r *Registry) Forget(workload uint32) {
	r.mu.Lock()
	pools := r.pools
	r.mu.Unlock()
	for _, p := range pools {
		p.loop.Post(func() { p.forget(workload) })
	}
}

// NewPools makes the pools of a loop, whose ID is below Config.Loops; one for
// each loop, before it has leases.
func (r *Registry) NewPools(l *reactor.Loop) *Pools {
	p := newPools(l, r)
	r.mu.Lock()
	defer r.mu.Unlock()
	// A new array each time: Apply and Forget walk the old one without mu.
	r.pools = append(r.pools[:len(r.pools):len(r.pools)], p)
	return p
}

// tell queues a change for Run, never waiting.
func (r *Registry) tell(c Change) {
	select {
	case r.changes <- c:
	default:
		r.dropped.Add(1)
	}
}

// DroppedChanges returns how many changes Config.Changed was not told of.
func (r *Registry) DroppedChanges() uint64 { return r.dropped.Load() }
