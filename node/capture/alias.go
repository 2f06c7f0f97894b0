package capture

import (
	"math"
	"net/netip"

	"github.com/culvert-mesh/culvert/bpf"
)

// Endpoint is one address that the hook may choose.
type Endpoint struct {
	Addr   netip.AddrPort
	Weight uint32 // relative to the others; 0: never chosen
}

// aliasSlots is an alias table over the endpoints (Vose 1991): a uniform slot,
// then one comparison, gives each endpoint its weight's share, at the same
// cost for any number of them. Nil when no endpoint has a weight.
func aliasSlots(endpoints []Endpoint) []bpf.Slot {
	var usable []Endpoint
	var total float64
	for _, e := range endpoints {
		if e.Weight > 0 {
			usable = append(usable, e)
			total += float64(e.Weight)
		}
	}
	share := make([]float64, len(usable)) // 1 is exactly one slot
	var small, large []int
	for i, e := range usable {
		share[i] = float64(e.Weight) * float64(len(usable)) / total
		if share[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	slots := make([]bpf.Slot, len(usable))
	for i, e := range usable {
		slots[i] = slot(e, e, math.MaxUint32)
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		slots[s] = slot(usable[s], usable[l], uint32(share[s]*(1<<32)))
		if share[l] -= 1 - share[s]; share[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	return slots // what is left in either list is a full slot but for rounding
}

func slot(first, second Endpoint, threshold uint32) bpf.Slot {
	a, b := bpf.MakeAddress(first.Addr), bpf.MakeAddress(second.Addr)
	return bpf.Slot{First: a.Addr, FirstPort: a.Port, Second: b.Addr, SecondPort: b.Port, Threshold: threshold}
}
