package upstream

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/culvert-mesh/culvert/proxy/balance"
	"github.com/culvert-mesh/culvert/proxy/breaker"
	"github.com/culvert-mesh/culvert/proxy/retry"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// Backend is a named set of endpoints with what lives about it.
type Backend struct {
	// set at construction
	name     string
	registry *Registry
	loops    []loopState // one per loop, written by that loop only

	// read by every request, written at changes
	current atomic.Pointer[members]
	// usable is how many candidates are closed. Whenever there are candidates
	// it is at least 1. Written under mu.
	usable    atomic.Int32
	ejections atomic.Uint64
	lasts     atomic.Uint64
	budget    retry.Budget

	// mu orders changes of state: which endpoints are candidates, and their
	// breakers' steps into and out of closed.
	mu sync.Mutex
}

// loopState is a loop's part of a backend, alone on its cache line.
type loopState struct {
	live   atomic.Int64 // leases not done yet
	cursor balance.Cursor
	_      [52]byte
}

// members is one immutable version of a backend's endpoints.
type members struct {
	table *table.Backend
	all   []*Endpoint // parallel to table.Endpoints
	// candidates are those that may get new requests: the ready ones or, when
	// none is, those that are terminating but still serving (KEP-1669).
	candidates []*Endpoint
	set        *balance.Set
}

func newBackend(name string, r *Registry) *Backend {
	b := &Backend{name: name, registry: r, loops: make([]loopState, r.config.Loops)}
	for i := range b.loops {
		b.loops[i].cursor = balance.Cursor(r.config.Random())
	}
	b.current.Store(&members{table: &table.Backend{Name: name}, set: balance.New(nil, false)})
	return b
}

// Name is the backend's name.
func (b *Backend) Name() string { return b.name }

// apply moves to the next version. It returns whether endpoints were removed,
// and the one that had to be taken back into use, if any.
func (b *Backend) apply(t *table.Backend) (removed bool, revived *Endpoint) {
	old := b.current.Load()
	if same(old.table, t) {
		return false, nil
	}
	next := &members{table: t, all: make([]*Endpoint, len(t.Endpoints))}
	var gone []*Endpoint
	left := old.all
	for i := range t.Endpoints {
		addr := t.Endpoints[i].Addr
		for len(left) > 0 && left[0].addr.Compare(addr) < 0 {
			gone, left = append(gone, left[0]), left[1:]
		}
		if len(left) > 0 && left[0].addr == addr {
			next.all[i], left = left[0], left[1:]
			continue
		}
		next.all[i] = &Endpoint{addr: addr, backend: b}
	}
	gone = append(gone, left...)
	next.choose()
	revived = b.publish(next, old)
	for _, e := range gone {
		e.removed.Store(true)
	}
	return len(gone) > 0, revived
}

// same reports whether nothing that matters here differs.
func same(a, b *table.Backend) bool {
	return a.Balance == b.Balance && a.Breaker == b.Breaker && a.Budget == b.Budget &&
		a.ConnectTimeout == b.ConnectTimeout && slices.Equal(a.Endpoints, b.Endpoints)
}

// choose picks the candidates.
func (m *members) choose() {
	var weights []uint32
	pick := func(fit func(table.EndpointInput) bool) {
		for i, e := range m.table.Endpoints {
			if fit(e) {
				m.candidates = append(m.candidates, m.all[i])
				weights = append(weights, e.Weight)
			}
		}
	}
	pick(func(e table.EndpointInput) bool { return e.Ready })
	if len(m.candidates) == 0 {
		pick(func(e table.EndpointInput) bool { return e.Serving })
	}
	m.candidates = slices.Clip(m.candidates)
	m.set = balance.New(weights, m.table.Balance == table.RoundRobin)
}

// publish makes next current and counts anew what is usable.
func (b *Backend) publish(next, old *members) (revived *Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range old.candidates {
		e.candidate = false
	}
	usable := int32(0)
	for _, e := range next.candidates {
		e.candidate = true
		if next.table.Breaker.Disabled && e.breaker.State() != breaker.Closed {
			e.breaker.Close()
		}
		if e.breaker.State() == breaker.Closed {
			usable++
		}
	}
	if usable == 0 && len(next.candidates) > 0 {
		// The endpoints that could be used are gone and only ejected ones are
		// left: the one that has waited longest is used again.
		revived = slices.MinFunc(next.candidates, dueFirst)
		revived.breaker.Close()
		revived.last.Store(true)
		b.lasts.Add(1)
		usable = 1
	}
	b.usable.Store(usable)
	b.current.Store(next)
	return revived
}

// remove marks every endpoint as gone. The members stay, for requests that
// began under an older view.
func (b *Backend) remove() (removed bool) {
	for _, e := range b.current.Load().all {
		e.removed.Store(true)
		removed = true
	}
	return removed
}

// Tried holds the endpoints that one request has been sent to. The zero value
// is empty; it forgets the first when there are more than it holds.
type Tried struct {
	list [8]*Endpoint
	n    int
}

func (t *Tried) add(e *Endpoint) {
	t.list[t.n%len(t.list)] = e
	t.n++
}

func (t *Tried) has(e *Endpoint) bool {
	for i := range min(t.n, len(t.list)) {
		if t.list[i] == e {
			return true
		}
	}
	return false
}

// Len returns how many endpoints were tried.
func (t *Tried) Len() int { return t.n }

// admissions is how often an endpoint is chosen anew when another loop was
// faster to take the one probe that it had to give.
const admissions = 4

// Acquire gives the right to use one endpoint for one attempt: of those that
// are ready, not ejected and not in tried, the one whose turn it is; where
// there is none, one that was tried already. The endpoint is added to tried
// (nil: it has no memory). A reason other than telemetry.None says that there
// is no lease: NoEndpoint when none is ready, BreakerOpen when all that could
// be used were taken for probes in this moment.
func (b *Backend) Acquire(p *Pools, tried *Tried) (Lease, telemetry.Reason) {
	m := b.current.Load()
	if len(m.candidates) == 0 {
		return Lease{}, telemetry.NoEndpoint
	}
	now := p.loop.Now()
	here := &b.loops[p.index]
	for range admissions {
		i := -1
		if tried != nil && tried.n > 0 {
			i = b.pick(m, here, func(i int) bool {
				return m.candidates[i].breaker.Refuses(now) || tried.has(m.candidates[i])
			})
		}
		if i < 0 {
			i = b.pick(m, here, func(i int) bool { return m.candidates[i].breaker.Refuses(now) })
		}
		if i < 0 {
			break
		}
		e := m.candidates[i]
		ok, probe := e.breaker.Admit(now)
		if !ok {
			continue
		}
		if probe {
			b.registry.tell(e.change(Ejected, Probing))
		}
		if tried != nil {
			tried.add(e)
		}
		e.inFlight.Add(1)
		here.live.Store(here.live.Load() + 1) // this loop is the only writer
		return Lease{endpoint: e, pools: p, members: m, probe: probe}, telemetry.None
	}
	return Lease{}, telemetry.BreakerOpen
}

func (b *Backend) pick(m *members, here *loopState, excluded func(int) bool) int {
	if m.table.Balance == table.WeightedRandom {
		return m.set.Random(excluded, b.registry.config.Random)
	}
	return m.set.RoundRobin(&here.cursor, excluded, b.registry.config.Random)
}

// Live returns the number of leases that are not done, over all loops.
func (b *Backend) Live() int64 {
	var n int64
	for i := range b.loops {
		n += b.loops[i].live.Load()
	}
	return n
}

// TakeRetry takes a place in the retry budget, from before the backoff until
// the retry is over. False: the budget is spent (telemetry.RetryBudget).
// Whoever has taken must GiveRetry.
func (b *Backend) TakeRetry() bool {
	return b.budget.Take(b.current.Load().budgetConfig(), b.Live())
}

func (m *members) budgetConfig() retry.BudgetConfig { return retry.BudgetConfig(m.table.Budget) }

// GiveRetry gives the place back.
func (b *Backend) GiveRetry() { b.budget.Give() }
