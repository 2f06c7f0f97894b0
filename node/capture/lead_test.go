package capture

import (
	"net/netip"
	"testing"

	"github.com/culvert-mesh/culvert/bpf"
)

// TestTheLaterProcessLeads: from its first beat on, whatever the earlier one does.
func TestTheLaterProcessLeads(t *testing.T) {
	w := newWorld(t)
	old := w.open()
	w.enrol(old, "old")
	alive(old)
	redirect(t, old, proxied(StanceClosed, vip4)...)
	next := w.open()
	// Until then the earlier one writes, also what the next one has not read.
	redirect(t, old, proxied(StanceClosed, vip4, "10.0.0.1:1")...)

	alive(next)
	redirect(t, next, proxied(StanceClosed, vip4, "10.0.0.1:1", "10.0.0.2:2")...)
	w.enrol(next, "new")
	redirect(t, old, proxied(StanceClosed, "10.0.0.3:3")...)
	must(t, old.Admit(7))
	if d, err := w.dial("tcp", vip4); d.greeting != "proxy new for "+vip4 {
		t.Errorf("reached %q, %v", d.greeting, err)
	}
	ids := map[uint32]netip.AddrPort{}
	var addr bpf.Address
	var value bpf.Origin
	it := next.objects.Origins.Iterate()
	for it.Next(&addr, &value) {
		if other, twice := ids[value.Id]; twice {
			t.Errorf("%s and %s have the same id", other, addr.AddrPort())
		}
		if ids[value.Id] = addr.AddrPort(); value.Mode != bpf.Proxy {
			t.Errorf("%s is released", addr.AddrPort())
		}
	}
	must(t, it.Err())
	if len(ids) != 3 {
		t.Errorf("origins %v, want those of the later process", ids)
	}
	must(t, old.Leave(7))
	if d, err := w.dial("tcp", vip4); d.greeting != "proxy new for "+vip4 {
		t.Errorf("after the earlier one's leave: reached %q, %v", d.greeting, err)
	}
}

// TestCrashLoop: more processes in a second than there are heartbeats.
func TestCrashLoop(t *testing.T) {
	w := newWorld(t)
	for range 12 {
		c := w.open()
		c.Beat(0)
		c.Beat(1)
		must(t, c.Close())
	}
}
