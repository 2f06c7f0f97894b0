package capture

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/culvert-mesh/culvert/bpf"
)

// Counter is how often the hooks took one way out, since the pins were made.
type Counter struct {
	Reason string // closed set
	Count  uint64
}

// Counters reads the hooks' reasons, summed over CPUs, in a fixed order.
func (c *Capture) Counters() ([]Counter, error) {
	counters := make([]Counter, 0, bpf.Reasons)
	for r := range bpf.Reasons {
		var perCPU []uint64
		if err := c.objects.Reasons.Lookup(uint32(r), &perCPU); err != nil {
			return nil, fmt.Errorf("read counter: %w", err)
		}
		counters = append(counters, Counter{Reason: bpf.ReasonName(bpf.Reason(r)), Count: sum(perCPU)})
	}
	return counters, nil
}

// BalancedCounter is how many connections to an origin the hook itself balanced.
type BalancedCounter struct {
	Origin netip.AddrPort
	Count  uint64
}

// Balanced reads the connections that the hook balanced, by origin, sorted. An
// origin that is released and comes back within ten minutes goes on counting.
func (c *Capture) Balanced() ([]BalancedCounter, error) {
	ids := *c.addrByID.Load()
	var id uint32
	var perCPU []uint64
	var counters []BalancedCounter
	it := c.objects.Balanced.Iterate()
	for it.Next(&id, &perCPU) {
		if addr, ok := ids[id]; ok {
			counters = append(counters, BalancedCounter{Origin: addr, Count: sum(perCPU)})
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("read balanced connections: %w", err)
	}
	slices.SortFunc(counters, func(a, b BalancedCounter) int { return cmpAddrPort(a.Origin, b.Origin) })
	return counters, nil
}

func cmpAddrPort(a, b netip.AddrPort) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Port(), b.Port()))
}

func sum(perCPU []uint64) (total uint64) {
	for _, n := range perCPU {
		total += n
	}
	return total
}
