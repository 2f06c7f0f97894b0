package capture

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRoutesFollowThePod: an address that the pod has no more is not local there
// any longer, or its next owner could not be reached; one that stays is never gone.
func TestRoutesFollowThePod(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	plan := planRoute().String()
	const former = "fd00:99::7"
	w.become(c, Workload{ID: 1}, client4, client6, former)
	w.wantRoutes("first", plan, client6+"/128", former+"/128")
	w.become(c, Workload{ID: 2, Replaces: 1}, client4, client6)
	w.wantRoutes("while the first drains", plan, client6+"/128", former+"/128")
	must(t, c.Leave(1))
	w.wantRoutes("the first has left", plan, client6+"/128")
	w.become(c, Workload{ID: 3, Replaces: 2}, client4)
	must(t, c.Leave(2))
	w.wantRoutes("no IPv6 address any more")
	w.become(c, Workload{ID: 4, Replaces: 3}, client4, client6)
	must(t, c.Leave(3))
	w.wantRoutes("IPv6 again", plan, client6+"/128")

	next := w.open() // after a crash
	alive(next)
	w.become(next, Workload{ID: 1}, client4, former)
	w.wantRoutes("another process, another address", plan, former+"/128")
	must(t, next.Leave(1))
	w.wantRoutes("all have left")
}

// TestSettleTakesRoutes of a pod that left the mesh while nobody ran.
func TestSettleTakesRoutes(t *testing.T) {
	w := newWorld(t)
	w.become(w.open(), Workload{ID: 1}, client4, client6)
	next := w.open()
	alive(next)
	w.wantRoutes("taken over", planRoute().String(), client6+"/128")
	must(t, next.Settle())
	w.wantRoutes("settled")
}

// become enrols and admits the client with these addresses; nobody accepts.
func (w *world) become(c *Capture, as Workload, addrs ...string) {
	w.t.Helper()
	as.NetnsPath = w.client
	for _, a := range addrs {
		as.Addresses = append(as.Addresses, netip.MustParseAddr(a))
	}
	pod, err := c.Enrol(as)
	must(w.t, err)
	for _, fd := range pod.Listeners {
		w.t.Cleanup(func() { unix.Close(fd) })
	}
	must(w.t, c.Admit(as.ID))
}

func (w *world) wantRoutes(when string, want ...string) {
	w.t.Helper()
	var got []string
	for _, r := range w.routes() {
		got = append(got, r.Dst.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: routes to %v, want %v", when, got, want)
	}
}
