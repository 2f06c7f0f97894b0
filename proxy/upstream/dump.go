package upstream

import (
	"cmp"
	"net/netip"
	"slices"
)

// Summary is a backend's live state in numbers, for metrics.
type Summary struct {
	Backend string `json:"backend"`
	// Endpoints of the snapshot; Candidates of them may get new requests;
	// Usable of those are not ejected.
	Endpoints  int `json:"endpoints"`
	Candidates int `json:"candidates"`
	Usable     int `json:"usable"`
	// Live leases; Retries under way and how many there may be at most now.
	Live       int64 `json:"live"`
	Retries    int64 `json:"retries"`
	RetryLimit int64 `json:"retry_limit"`
	// Ejections since the backend came, and how often the last usable endpoint
	// was kept in place of ejecting it.
	Ejections uint64 `json:"ejections"`
	Lasts     uint64 `json:"lasts"`
}

// EndpointDump is one endpoint's live state.
type EndpointDump struct {
	Address netip.AddrPort `json:"address"`
	Weight  uint32         `json:"weight"`
	Ready   bool           `json:"ready"`
	Serving bool           `json:"serving"`
	// Health is closed, open, half_open or last.
	Health string `json:"health"`
	// ProbeAt is when an open one is probed: ns on the loops' clock.
	ProbeAt             int64  `json:"probe_at,omitempty"`
	ConsecutiveFailures uint32 `json:"consecutive_failures"`
	Failures            uint32 `json:"failures"`
	Ejections           uint32 `json:"ejections"`
	InFlight            int64  `json:"in_flight"`
	Connections         int    `json:"connections"`
	Connects            uint64 `json:"connects"`
}

// BackendDump is a backend with its endpoints, sorted by address.
type BackendDump struct {
	Summary
	List []EndpointDump `json:"list"`
}

// Summaries returns every backend's numbers, sorted by name.
func (r *Registry) Summaries() []Summary {
	backends := r.sorted()
	out := make([]Summary, len(backends))
	for i, b := range backends {
		out[i] = b.summary()
	}
	return out
}

// Dump returns everything that lives, sorted. What loops write meanwhile may
// be seen or not.
func (r *Registry) Dump() []BackendDump {
	backends := r.sorted()
	out := make([]BackendDump, len(backends))
	for i, b := range backends {
		m := b.current.Load()
		out[i] = BackendDump{Summary: b.summary(), List: make([]EndpointDump, len(m.all))}
		for j, e := range m.all {
			in := &m.table.Endpoints[j]
			out[i].List[j] = EndpointDump{
				Address: e.addr, Weight: in.Weight, Ready: in.Ready, Serving: in.Serving,
				Health: e.Health().String(), ProbeAt: e.breaker.Until(),
				ConsecutiveFailures: e.breaker.Failures(), Failures: e.failures.Load(),
				Ejections: e.ejections.Load(), InFlight: e.inFlight.Load(),
				Connections: e.Connections(), Connects: e.connects.Load(),
			}
		}
	}
	return out
}

// PoolStats returns the pools' numbers, by loop.
func (r *Registry) PoolStats() []PoolStats {
	r.mu.Lock()
	pools := r.pools
	r.mu.Unlock()
	out := make([]PoolStats, len(pools))
	for i, p := range pools {
		out[i] = p.Stats()
	}
	slices.SortFunc(out, func(a, b PoolStats) int { return cmp.Compare(a.Loop, b.Loop) })
	return out
}

func (r *Registry) sorted() []*Backend {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*Backend, 0, len(r.backends))
	for _, b := range r.backends {
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b *Backend) int { return cmp.Compare(a.name, b.name) })
	return out
}

func (b *Backend) summary() Summary {
	m := b.current.Load()
	live := b.Live()
	return Summary{
		Backend: b.name, Endpoints: len(m.all), Candidates: len(m.candidates),
		Usable: int(b.usable.Load()), Live: live, Retries: b.budget.UnderWay(),
		RetryLimit: m.budgetConfig().Limit(live),
		Ejections:  b.ejections.Load(), Lasts: b.lasts.Load(),
	}
}
