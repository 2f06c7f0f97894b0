package capture

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/bpf"
)

// TestKernelChoice: the hook spreads connections by weight, with no proxy at all.
func TestKernelChoice(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.enrol(c, "a") // and nobody beats
	for vip, server := range map[string]string{vip4: server4 + ":0", vip6: "[" + server6 + "]:0"} {
		heavy, light, never := w.serve(server, "heavy"), w.serve(server, "light"), w.serve(server, "never")
		origin := Origin{Addr: netip.MustParseAddrPort(vip), Mode: ModeKernel, Stance: StanceClosed,
			Endpoints: []Endpoint{{heavy, 3}, {light, 1}, {never, 0}}}
		redirect(t, c, origin)

		const n = 400
		got := map[string]int{}
		must(t, w.app(func() error {
			for range n {
				d, err := dialHere("tcp", vip)
				if err != nil || d.remote != origin.Addr {
					return fmt.Errorf("getpeername says %s, want %s (%v)", d.remote, origin.Addr, err)
				}
				got[d.greeting]++
			}
			return nil
		}))
		// Four standard deviations of a binomial with p = 3/4.
		if off := math.Abs(float64(got["direct heavy"] - n*3/4)); off > 4*math.Sqrt(n*3./16) || got["direct light"]+got["direct heavy"] != n {
			t.Errorf("%s: weights 3:1:0 gave %v", vip, got)
		}
		balanced, err := c.Balanced()
		must(t, err)
		if !contains(balanced, BalancedCounter{origin.Addr, n}) {
			t.Errorf("%s: counted %v, want %d", vip, balanced, n)
		}

		origin.Endpoints = origin.Endpoints[1:]
		redirect(t, c, origin)
		if d, err := w.dial("tcp", vip); d.greeting != "direct light" {
			t.Errorf("%s: after an update: %q, %v", vip, d.greeting, err)
		}
		origin.Endpoints = nil
		redirect(t, c, origin)
		if _, err := w.dial("tcp", vip); !refused(err) {
			t.Errorf("%s: with no endpoint: %v, want refused", vip, err)
		}
	}
	if counter(t, c, "no_endpoint") != 2 || counter(t, c, "to_endpoint") != 802 {
		t.Errorf("counted %d and %d", counter(t, c, "no_endpoint"), counter(t, c, "to_endpoint"))
	}
	wantNoSlots(t, c)
}

// TestSlotsOfAFailure: a redirect that the kernel refuses half way leaves no slots.
func TestSlotsOfAFailure(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	redirect(t, c) // the first one clears up what an earlier process left
	counters := c.objects.Balanced
	closed, err := counters.Clone()
	must(t, err)
	must(t, closed.Close())
	c.objects.Balanced = closed
	origin := Origin{Addr: netip.MustParseAddrPort(vip4), Mode: ModeKernel,
		Endpoints: []Endpoint{{netip.MustParseAddrPort(server4 + ":1"), 1}, {netip.MustParseAddrPort(server4 + ":2"), 1}}}
	err = c.Redirect([]Origin{origin})
	c.objects.Balanced = counters
	if err == nil {
		t.Error("a closed map was written")
	}
	redirect(t, c, origin)
	if n := c.origins.entries[origin.Addr].value.Slots; n != 2 {
		t.Errorf("%d slots at the second try, want 2", n)
	}
	wantNoSlots(t, c)
}

// wantNoSlots: a replaced generation goes once nobody can be reading it.
func wantNoSlots(t *testing.T, c *Capture) {
	t.Helper()
	for range 2 {
		for i := range c.origins.garbage {
			c.origins.garbage[i].since = time.Now().Add(-2 * slotKeep)
		}
		redirect(t, c)
	}
	var key bpf.SlotKey
	var slot bpf.Slot
	for it := c.objects.Endpoints.Iterate(); it.Next(&key, &slot); {
		t.Errorf("slot %+v is left", key)
	}
}

func contains[T comparable](all []T, one T) bool {
	for _, a := range all {
		if a == one {
			return true
		}
	}
	return false
}

// TestAliasSlots: the table gives each endpoint its share, exactly but for rounding.
func TestAliasSlots(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var endpoints []Endpoint
		var total float64
		for i := range random.IntN(20) {
			weight := uint32(random.IntN(5)) * uint32(1+random.IntN(1000))
			endpoints = append(endpoints, Endpoint{netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(1+i)), weight})
			total += float64(weight)
		}
		share := map[uint16]float64{}
		slots := aliasSlots(endpoints)
		for _, s := range slots {
			first := float64(s.Threshold) / (1 << 32)
			share[swap(s.FirstPort)] += first / float64(len(slots))
			share[swap(s.SecondPort)] += (1 - first) / float64(len(slots))
		}
		for _, e := range endpoints {
			want := 0.
			if total > 0 {
				want = float64(e.Weight) / total
			}
			if got := share[e.Addr.Port()]; math.Abs(got-want) > 1e-6 {
				t.Fatalf("round %d: %v: port %d has %v, want %v", round, endpoints, e.Addr.Port(), got, want)
			}
		}
	}
}

// TestModeChange: a service moves between the proxy and the hook and back,
// each time through a release that leaves it direct.
func TestModeChange(t *testing.T) {
	w := newWorld(t)
	w.own("10.96.0.10/32", "fd00:96::10/128")
	c := w.open()
	w.enrol(c, "a")
	alive(c)
	for vip, server := range map[string]string{vip4: server4 + ":0", vip6: "[" + server6 + "]:0"} {
		w.serve(vip, "origin")
		endpoint := w.serve(server, "endpoint")
		proxy := proxied(StanceClosed, vip)
		kernel := []Origin{{Addr: netip.MustParseAddrPort(vip), Mode: ModeKernel, Endpoints: []Endpoint{{endpoint, 1}}}}
		for _, step := range []struct {
			next []Origin
			want string
		}{{proxy, "proxy a for " + vip}, {kernel, "direct endpoint"}, {proxy, "proxy a for " + vip}, {nil, "direct origin"}} {
			must(t, c.Release(step.next))
			if d, err := w.dial("tcp", vip); d.greeting != "direct origin" {
				t.Errorf("released: reached %q, %v", d.greeting, err)
			}
			must(t, c.Redirect(step.next))
			if d, err := w.dial("tcp", vip); d.greeting != step.want {
				t.Errorf("reached %q, %v, want %q", d.greeting, err, step.want)
			}
		}
		// A second application of the same changes nothing, and never passes by the origin.
		redirect(t, c, proxy...)
		must(t, c.Release(proxy))
		if d, err := w.dial("tcp", vip); d.greeting != "proxy a for "+vip {
			t.Errorf("released without a change: reached %q, %v", d.greeting, err)
		}
	}
}
