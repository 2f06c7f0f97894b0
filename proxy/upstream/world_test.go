package upstream_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"

	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }

// world is a registry on a reactor with a clock of its own.
type world struct {
	*proxytest.Reactor
	t        testing.TB
	registry *upstream.Registry
	pools    []*upstream.Pools
	input    table.Input
	view     *upstream.View
	snapshot *table.Snapshot

	mu      sync.Mutex
	changes []string
}

// newWorld has one backend, "a/b:80", which starts with these endpoints.
func newWorld(t testing.TB, loops int, pool upstream.PoolConfig, endpoints ...netip.AddrPort) *world {
	t.Helper()
	w := &world{Reactor: proxytest.Start(t, loops), t: t}
	w.registry = upstream.NewRegistry(upstream.Config{
		Loops: loops, Dialer: proxytest.Sockets{}, Pool: pool, Changed: w.changed,
	})
	for i := range loops {
		w.pools = append(w.pools, w.registry.NewPools(w.Loop(i)))
	}
	w.input.Backends = []table.BackendInput{{Name: "a/b:80"}}
	w.breaker().Consecutive = 3
	w.apply(endpoints...)
	return w
}

func (w *world) changed(c upstream.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes = append(w.changes, fmt.Sprintf("%s %s>%s", c.Endpoint, c.From, c.To))
}

// listen hands changes on while the test runs and returns what stops it.
func (w *world) listen() (stop func() []string) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.registry.Run(ctx) }()
	return func() []string { cancel(); <-done; return w.changes }
}

func (w *world) breaker() *table.BreakerInput { return &w.input.Backends[0].Breaker }

// apply makes the backend have these endpoints, all ready.
func (w *world) apply(endpoints ...netip.AddrPort) {
	w.t.Helper()
	var in []table.EndpointInput
	for _, a := range endpoints {
		in = append(in, table.EndpointInput{Addr: a, Ready: true, Serving: true})
	}
	w.applyInput(in...)
}

func (w *world) applyInput(endpoints ...table.EndpointInput) {
	w.t.Helper()
	w.input.Backends[0].Endpoints = endpoints
	s, err := table.Build(w.input)
	if err != nil {
		w.t.Fatal(err)
	}
	w.snapshot, w.view = s, w.registry.Apply(s)
}

func (w *world) backend() *upstream.Backend { return w.view.Backend(w.snapshot.Backends[0]) }

// attempt leases on loop 0 and is done at once; it returns where it went.
func (w *world) attempt(tried *upstream.Tried, out upstream.Outcome) (at netip.AddrPort) {
	w.t.Helper()
	w.Do(0, func() {
		l, reason := w.backend().Acquire(w.pools[0], tried)
		if reason != telemetry.None {
			w.t.Errorf("no lease: %s", reason)
			return
		}
		at = l.Endpoint().Addr()
		l.Done(out)
	})
	return at
}

// fail makes attempts until n of them met e and failed there; others are fine.
func (w *world) fail(e netip.AddrPort, n int) {
	w.t.Helper()
	w.Do(0, func() {
		for tries := 0; n > 0 && tries < 10_000; tries++ {
			l, reason := w.backend().Acquire(w.pools[0], nil)
			switch {
			case reason != telemetry.None:
				w.t.Errorf("no lease: %s", reason)
			case l.Endpoint().Addr() == e:
				l.Done(upstream.Failure5xx)
				n--
			default:
				l.Done(upstream.OK)
			}
		}
	})
	if n > 0 {
		w.t.Fatalf("%s was not leased any more", e)
	}
}

// endpoint is what the dump says of one.
func (w *world) endpoint(a netip.AddrPort) upstream.EndpointDump {
	for _, b := range w.registry.Dump() {
		for _, e := range b.List {
			if e.Address == a {
				return e
			}
		}
	}
	return upstream.EndpointDump{}
}

func (w *world) stats() upstream.PoolStats { return w.registry.PoolStats()[0] }

// exchange leases, connects as workload and keeps the connection.
func (w *world) exchange(loop int, workload uint32) (reused bool) {
	w.t.Helper()
	w.Run(loop, func() {
		l, reason := w.backend().Acquire(w.pools[loop], nil)
		if reason != telemetry.None {
			w.t.Errorf("no lease: %s", reason)
			return
		}
		defer l.Done(upstream.OK)
		c, again, err := l.Conn(workload, false)
		if err != nil {
			w.t.Error(err)
			return
		}
		reused = again
		l.Keep(c)
	})
	return reused
}

// connect leases and connects n times, keeping none until give is called.
func (w *world) connect(loop, n int, workload uint32) (give func()) {
	w.t.Helper()
	leases, conns := make([]upstream.Lease, n), make([]*reactor.Conn, n)
	w.Run(loop, func() {
		for i := range n {
			leases[i], _ = w.backend().Acquire(w.pools[loop], nil)
			var err error
			if conns[i], _, err = leases[i].Conn(workload, true); err != nil {
				w.t.Error(err)
			}
		}
	})
	return func() {
		w.Do(loop, func() {
			for i := range n {
				leases[i].Keep(conns[i])
				leases[i].Done(upstream.OK)
			}
		})
	}
}

func address(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 80)
}
