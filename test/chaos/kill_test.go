package chaos

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/test/world"
)

// crashes is how many times the node is killed.
const crashes = 20

// probes ask a service whose stance is open and one whose stance is closed, on a
// new connection each time.
type probes struct {
	t            *testing.T
	open, closed *httpClient
}

func (w *town) probes(guarded world.Service) *probes {
	single := func(s world.Service) *httpClient {
		return &httpClient{dial: w.client.Dial, addr: at(s.VIP4, httpPort), single: true}
	}
	return &probes{t: w.t, open: single(w.service), closed: single(guarded)}
}

// away waits until open connects directly, says how long after since that was,
// and checks that it goes on so, and that closed is refused all the time.
func (p *probes) away(since time.Time) (direct time.Duration) {
	p.t.Helper()
	for direct == 0 {
		p.mustRefuse()
		if err := p.open.once(p.t.Context()); err == nil {
			direct = time.Since(since)
		} else if time.Since(since) > 5*time.Second {
			p.t.Fatalf("open is not served directly: %v", err)
		}
	}
	for range 20 {
		p.mustRefuse()
		if err := p.open.once(p.t.Context()); err != nil {
			p.t.Errorf("open, directly: %v", err)
		}
	}
	return direct
}

// mustRefuse: never let through, never left to hang.
func (p *probes) mustRefuse() {
	p.t.Helper()
	start := time.Now()
	if err := p.closed.once(p.t.Context()); !refused(err) {
		p.t.Fatalf("closed, while the proxy is away: %v, want a refusal", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		p.t.Errorf("it took %v to refuse", took)
	}
}

// back waits until closed is served again: by the proxy, then.
func (p *probes) back(since time.Time) time.Duration {
	p.t.Helper()
	for {
		err := p.closed.once(p.t.Context())
		if err == nil {
			return time.Since(since)
		}
		if !refused(err) || time.Since(since) > 20*time.Second {
			p.t.Fatalf("closed, while a new process starts: %v", err)
		}
	}
}

// unaware are clients of what the kernel balances: with connections that stay,
// and with new ones.
func unaware(from *world.Pod, s world.Service) []client {
	addr4, addr6 := at(s.VIP4, opaquePort), at(s.VIP6, opaquePort)
	const pace = 4 * time.Millisecond
	return []client{
		{"kernel's, new", 2, pace, func() exchanger { return &echoClient{dial: from.Dial, addr: addr4} }},
		{"kernel's, IPv6, new", 2, pace, func() exchanger { return &echoClient{dial: from.Dial, addr: addr6} }},
		{"kernel's, kept", 2, pace, func() exchanger { return &echoClient{dial: from.Dial, addr: addr4, keep: true} }},
	}
}

// TestKill kills the node again and again under load.
func TestKill(t *testing.T) {
	w := newTown(t, world.Config{KubeProxy: true})
	guarded := w.guard()
	node := w.start(world.NodeConfig{})
	p := w.probes(guarded)
	p.back(time.Now())
	kernel := startTraffic(t, append(unaware(w.client, w.service), unaware(w.client, guarded)...)...)
	proxied := w.traffic() // dies with each process: only there to be in its way
	first, firstOpen := w.traces(), descriptors(t, node.PID)
	var direct, again []time.Duration
	for range crashes {
		proxied.flow(50)
		killed := time.Now()
		node.Kill()
		direct = append(direct, p.away(killed))
		start := time.Now()
		node = w.start(world.NodeConfig{NotReady: true})
		again = append(again, p.back(start))
		check(t, node.WaitReady(t.Context()))
	}
	summary(t, "from kill -9 to the first direct connection of an open service", direct)
	summary(t, "from the start of a new process to the first request of a closed service", again)
	// 200 ms is the promise. Now and then a SYN meets the closing listener, is dropped
	// by the kernel and repeated a second later.
	if p50, d := direct[len(direct)/2], slices.Max(direct); p50 > 500*time.Millisecond || d > 4*time.Second {
		t.Errorf("an open service was away for %v in half of all cases, and up to %v", p50, d)
	}
	proxied.stop()
	kernel.unharmed(crashes)
	w.sameAs("the kernel", first.String(), func() string { return w.traces().String() })
	w.sameAs("the descriptors", firstOpen, func() string { return descriptors(t, node.PID) })
}

// TestKillAmidChanges kills the node at any moment of applying changes. What the
// kernel balances never notices, and no map keeps what a process left half done.
func TestKillAmidChanges(t *testing.T) {
	w := newTown(t, world.Config{KubeProxy: true})
	guarded := w.guard()
	node := w.start(world.NodeConfig{})
	p := w.probes(guarded)
	p.back(time.Now())
	kernel := startTraffic(t, append(unaware(w.client, w.service), unaware(w.client, guarded)...)...)
	all := w.service.Endpoints
	quit := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-quit:
				return
			default:
			}
			w.endpoints([][]world.Endpoint{all[:1], all[1:], all}[i%3])
			w.label(w.servers[0].pod, []string{"disabled", "enabled"}[i%2])
		}
	})
	stop := sync.OnceFunc(func() {
		close(quit)
		changing.Wait()
	})
	defer stop()
	for i := range 12 {
		kernel.flow(50 + 37*i%100)
		node.Kill()
		start := time.Now()
		node = w.start(world.NodeConfig{NotReady: true})
		if i%3 != 0 { // else it is killed while it starts
			p.back(start)
		}
	}
	stop()
	w.label(w.servers[0].pod, "enabled")
	p.back(time.Now())
	check(t, node.WaitReady(t.Context()))
	w.endpoints(all)
	kernel.flow(100)
	kernel.unharmed(12)
	node.Kill()
	w.start(world.NodeConfig{})
	// Two services, two families, two endpoints; and once more those that the new
	// process found, until the next change.
	if n := entries(t, w.BPFFS, "endpoints"); n > 2*8 {
		t.Errorf("the endpoints map has %d entries, want 16 at most", n)
	}
	if n := entries(t, w.BPFFS, "workloads"); n != len(w.Pods()) {
		t.Errorf("the workloads map has %d entries, want %d", n, len(w.Pods()))
	}
}

// sameAs waits until what is looked at is as it was.
func (w *town) sameAs(what, want string, look func() string) {
	w.t.Helper()
	got := ""
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	err := world.Wait(ctx, what, func() (bool, error) {
		got = look()
		return got == want, nil
	})
	if err != nil {
		w.t.Errorf("%s:\n%s\nat first:\n%s", what, got, want)
		return
	}
	w.t.Logf("%s as at first: %s", what, got)
}

// TestHang stops the node without killing it: nobody answers, nobody is gone.
func TestHang(t *testing.T) {
	w := newTown(t, world.Config{KubeProxy: true})
	guarded := w.guard()
	node := w.start(world.NodeConfig{})
	p := w.probes(guarded)
	p.back(time.Now())
	tr := w.traffic()
	kernel := startTraffic(t, unaware(w.client, guarded)...)
	var direct, again []time.Duration
	for range 3 {
		tr.flow(200)
		stopped := time.Now()
		check(t, node.Signal(unix.SIGSTOP))
		// Until the heartbeat is stale, what connects waits in a listener's queue.
		w.Wait("the heartbeat to be stale", func() (bool, error) { return time.Since(stopped) > 250*time.Millisecond, nil })
		direct = append(direct, p.away(stopped))
		kernel.flow(700)
		start := time.Now()
		check(t, node.Signal(unix.SIGCONT))
		again = append(again, p.back(start))
	}
	summary(t, "from SIGSTOP to a direct connection, the 250 ms waited included", direct)
	summary(t, "from SIGCONT to a request of a closed service", again)
	// What was under way waits for the process, and is answered.
	tr.unharmed(20)
	kernel.unharmed(100)
}

// summary logs the distribution of a measurement.
func summary(t *testing.T, what string, took []time.Duration) {
	t.Helper()
	slices.Sort(took)
	n := len(took)
	t.Logf("%s: p50 %v, at most %v (%d times)", what, took[n/2].Round(time.Millisecond/10), took[n-1].Round(time.Millisecond/10), n)
}

// TestUninstall: nothing is left of a node that was stopped, nor of one that was
// killed, and traffic goes on without.
func TestUninstall(t *testing.T) {
	w := newTown(t, world.Config{KubeProxy: true})
	before := w.traces()
	for _, stop := range []func(*world.Node){
		func(n *world.Node) { check(t, n.Stop(20*time.Second)) },
		func(n *world.Node) { n.Kill() },
	} {
		node := w.start(world.NodeConfig{Args: []string{"--drain-timeout", "1s"}})
		tr := startTraffic(t, unaware(w.client, w.service)...)
		tr.flow(50)
		x := w.traces()
		if len(x.programs) != 6 || len(x.links) != 6 || x.routes["client"] <= before.routes["client"] {
			t.Errorf("installed: %s", x)
		}
		stop(node)
		check(t, w.Uninstall(t.Context()))
		tr.flow(50)
		tr.unharmed(10)
		w.Wait("the kernel to let go", func() (bool, error) { return len(x.left()) == 0, nil })
		if now := w.traces(); now.String() != before.String() {
			t.Errorf("left: %s\nbefore: %s", now, before)
		}
		for _, dir := range []string{w.BPFFS, w.State} {
			if left := tree(dir); len(left) > 0 {
				t.Errorf("%s holds %s", dir, strings.Join(left, " "))
			}
		}
	}
}
