package table

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"
)

func compileBackend(where at, in *BackendInput) *Backend {
	if in.Balance > WeightedRandom {
		where.in("balance").fault("is %d, which is not a way to choose", in.Balance)
	}
	return &Backend{
		Name:           in.Name,
		Endpoints:      compileEndpoints(where, in.Endpoints),
		Balance:        in.Balance,
		Breaker:        compileBreaker(where.in("breaker"), in.Breaker),
		Budget:         compileBudget(where.in("budget"), in.Budget),
		ConnectTimeout: orDefault(where.in("connectTimeout"), in.ConnectTimeout, DefaultConnectTimeout),
	}
}

// compileEndpoints sorts the endpoints and drops repeated addresses:
// EndpointSlices may name one twice while it moves from one slice to another,
// and the EndpointSlice API asks its readers to cope. The readiest one stays.
func compileEndpoints(where at, in []EndpointInput) []EndpointInput {
	out := make([]EndpointInput, len(in))
	var total uint64
	for i, e := range in {
		e.Addr = plain(e.Addr)
		if e.Weight == 0 {
			e.Weight = 1
		}
		total += uint64(e.Weight)
		if reason := addressFault(e.Addr); reason != "" {
			where.item("endpoints", i).in("addr").fault("%s %s", e.Addr, reason)
		}
		out[i] = e
	}
	if total > math.MaxUint32 {
		where.in("endpoints").fault("have weights that add up to more than %d", uint32(math.MaxUint32))
	}
	slices.SortStableFunc(out, func(x, y EndpointInput) int {
		return cmp.Or(x.Addr.Compare(y.Addr), readiness(x)-readiness(y))
	})
	return slices.CompactFunc(out, func(x, y EndpointInput) bool { return x.Addr == y.Addr })
}

// readiness orders endpoints: the lower the more fit for requests.
func readiness(e EndpointInput) int {
	switch {
	case e.Ready:
		return 0
	case e.Serving:
		return 1
	}
	return 2
}

func compileBreaker(where at, in BreakerInput) Breaker {
	out := Breaker{
		Disabled:     in.Disabled,
		Consecutive:  cmp.Or(in.Consecutive, DefaultConsecutive),
		BaseEjection: orDefault(where.in("baseEjection"), in.BaseEjection, DefaultBaseEjection),
		MaxEjection:  orDefault(where.in("maxEjection"), in.MaxEjection, DefaultMaxEjection),
	}
	if out.Consecutive > MaxConsecutive {
		where.in("consecutive").fault("is %d, more than %d", out.Consecutive, MaxConsecutive)
	}
	if in.MaxEjection == 0 {
		// A base above the default bound is meant, so it moves the bound.
		out.MaxEjection = max(out.MaxEjection, out.BaseEjection)
	}
	if out.MaxEjection < out.BaseEjection {
		where.in("maxEjection").fault("is %s, less than baseEjection %s", out.MaxEjection, out.BaseEjection)
	}
	if out.MaxEjection > MaxEjectionBound {
		where.in("maxEjection").fault("is %s, more than %s", out.MaxEjection, MaxEjectionBound)
	}
	return out
}

// compileBudget fills in the defaults. Only the whole zero value means the
// defaults: a budget of 0 % with a minimum is a fixed number of retries.
func compileBudget(where at, in BudgetInput) Budget {
	if in == (BudgetInput{}) {
		return Budget{Percent: DefaultBudgetPercent, MinConcurrency: DefaultBudgetMin}
	}
	if !(in.Percent >= 0 && in.Percent <= 100) { // also refuses NaN
		where.in("percent").fault("is %v, not between 0 and 100", in.Percent)
	}
	return Budget(in)
}

// orDefault returns d, or fallback when d is 0.
func orDefault(where at, d, fallback time.Duration) time.Duration {
	if d < 0 {
		where.fault("is %s, less than 0", d)
	}
	return cmp.Or(d, fallback)
}

// addressFault says what keeps an address from being dialled, or "".
func addressFault(a netip.AddrPort) string {
	switch {
	case !a.Addr().IsValid():
		return "is not an address"
	case a.Port() == 0:
		return "has no port"
	case a.Addr().IsUnspecified():
		return "is the unspecified address"
	case a.Addr().IsMulticast():
		return "is a multicast address"
	case a.Addr().Zone() != "":
		return "has a zone"
	}
	return ""
}
