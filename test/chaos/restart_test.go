package chaos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/test/world"
)

// guardedToo are the steady clients of the open service, and those of the closed
// one, which show every moment in which nobody is there.
func (w *town) guardedToo(guarded world.Service) []client {
	clients := steady(w.client, w.service.VIP4, w.service.VIP6)
	for _, c := range steady(w.client, guarded.VIP4, guarded.VIP6) {
		c.name = "closed: " + c.name
		clients = append(clients, c)
	}
	return clients
}

// TestRestart stops the node in an orderly way and starts it again: clients of an
// open service notice nothing.
func TestRestart(t *testing.T) {
	w := newTown(t, world.Config{KubeProxy: true})
	node := w.start(world.NodeConfig{})
	// Those that ask seldom are idle when their connection is closed.
	seldom := client{"GET seldom", 40, 700 * time.Millisecond, func() exchanger {
		return &httpClient{dial: w.client.Dial, addr: at(w.service.VIP4, httpPort), most: 2}
	}}
	tr := startTraffic(t, append(steady(w.client, w.service.VIP4, w.service.VIP6), seldom)...)
	var stopped []time.Duration
	for range 2 {
		tr.flow(1500) // so that all are captured again
		start := time.Now()
		check(t, node.Stop(20*time.Second))
		stopped = append(stopped, time.Since(start))
		tr.flow(100)
		node = w.start(world.NodeConfig{})
	}
	summary(t, "from SIGTERM to the end of the process", stopped)
	tr.flow(200)
	tr.unharmed(20)
}

// TestRollingUpdate starts a new process before the old one ends: nobody notices,
// not even clients of a closed service, though policy changes all the while.
func TestRollingUpdate(t *testing.T) {
	w := newTown(t, world.Config{KubeProxy: true})
	guarded := w.guard()
	old := w.start(world.NodeConfig{})
	tr := startTraffic(t, w.guardedToo(guarded)...)
	first := w.traces()
	for i := range 5 {
		tr.flow(200)
		w.Publish(world.Service{Name: fmt.Sprintf("before-%d", i), Ports: ports(), Endpoints: w.service.Endpoints})
		next := w.start(world.NodeConfig{NotReady: true, Args: secondPorts(i)})
		// Services and pods come while there are two.
		late := w.Publish(world.Service{Name: fmt.Sprintf("between-%d", i), Ports: ports(), Endpoints: w.service.Endpoints,
			Annotations: map[string]string{"culvert.dev/stance": "closed"}})
		check(t, next.WaitOutput(t.Context(), "configuration applied"))
		pod := w.Pod(fmt.Sprintf("pod-%d", i), world.PodConfig{})
		check(t, next.WaitOutput(t.Context(), `workload=default/`+pod.Name))
		tr.flow(200)
		check(t, old.Stop(20*time.Second))
		old = next
		p := &probes{t: t, closed: &httpClient{dial: pod.Dial, addr: at(late.VIP4, httpPort), single: true}}
		p.back(time.Now()) // the new pod is the new process's
		check(t, w.RemovePolicy("service-default-between-"+fmt.Sprint(i)+".yaml"))
		check(t, w.RemovePolicy("service-default-before-"+fmt.Sprint(i)+".yaml"))
		check(t, pod.Remove())
	}
	tr.flow(200)
	tr.unharmed(20)
	w.sameAs("the kernel", first.String(), func() string { return w.traces().String() })
}

// TestHungProcessReturns: one that did not answer, and that another has replaced
// meanwhile, disturbs nothing when it goes on.
func TestHungProcessReturns(t *testing.T) {
	w := newTown(t, world.Config{KubeProxy: true})
	guarded := w.guard()
	old := w.start(world.NodeConfig{})
	p := w.probes(guarded)
	p.back(time.Now())
	check(t, old.Signal(unix.SIGSTOP))
	next := w.start(world.NodeConfig{NotReady: true, Args: secondPorts(0)})
	check(t, next.WaitOutput(t.Context(), "configuration applied"))
	p.back(time.Now())
	tr := startTraffic(t, w.guardedToo(guarded)...)
	tr.flow(200)
	w.endpoints(w.service.Endpoints[:1])
	check(t, old.Signal(unix.SIGCONT))
	for i := range 10 {
		w.endpoints(w.service.Endpoints[i%2:])
		w.label(w.servers[0].pod, []string{"disabled", "enabled"}[i%2])
		tr.flow(100)
	}
	check(t, old.Stop(20*time.Second))
	tr.flow(200)
	tr.unharmed(20)
}

// secondPorts are other ports than those of the process before: two listen on
// the node at the same time.
func secondPorts(i int) []string {
	if i%2 == 1 {
		return nil
	}
	return []string{"--admin", "127.0.0.1:15001", "--metrics", "127.0.0.1:15021"}
}

// TestSecondNodeByMistake: one with the same ports ends at once, and takes
// nothing from the first.
func TestSecondNodeByMistake(t *testing.T) {
	w := newTown(t, world.Config{KubeProxy: true})
	guarded := w.guard()
	w.start(world.NodeConfig{})
	tr := startTraffic(t, w.guardedToo(guarded)...)
	tr.flow(100)
	second := w.start(world.NodeConfig{NotReady: true})
	if err := second.Wait(t.Context()); err == nil || !strings.Contains(second.Output(), "is another node running?") {
		t.Errorf("a second node: %v\n%s", err, second.Output())
	}
	tr.flow(200)
	tr.unharmed(1)
}
