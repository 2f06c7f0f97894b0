package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/world"
)

// endpoint is what a round of the churn does with its server before it is taken
// out for good.
type departure struct {
	name  string
	apply func(e world.Endpoint) world.Endpoint
}

func departures() []departure {
	return []departure{
		{"removed", nil},
		{"not ready", func(e world.Endpoint) world.Endpoint { e.NotReady = true; return e }},
		{"terminating", func(e world.Endpoint) world.Endpoint {
			e.NotReady, e.Serving, e.Terminating = true, true, true
			return e
		}},
	}
}

// TestEndpointsComeAndGo: a server comes, is used, goes in each of the ways in
// which one can, stops, and comes again with its old address.
func TestEndpointsComeAndGo(t *testing.T) {
	w := newTown(t, world.Config{KubeProxy: true})
	w.start(world.NodeConfig{})
	tr := w.traffic()
	tr.flow(100)
	stay := w.service.Endpoints
	var last *world.Pod
	rounds := 0
	for end := soakUntil(6 * time.Second); rounds < 3 || time.Now().Before(end); rounds++ {
		pod := w.Pod("guest", world.PodConfig{Like: last})
		last = pod
		guest := serve(t, pod, "guest")
		w.endpoints(append(stay[:len(stay):len(stay)], world.Ready(pod)...))
		w.Wait("the guest to be used", func() (bool, error) { return guest.requests.Load() > 10, nil })
		if d := departures()[rounds%3]; d.apply != nil {
			w.endpoints(append(stay[:len(stay):len(stay)], d.apply(world.Endpoint{Pod: pod})))
			guest.settle(tr)
		}
		w.endpoints(stay)
		guest.settle(tr)
		guest.stop()
		if err := pod.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d rounds", rounds)
	tr.unharmed(rounds)
}

// TestServersThatTerminateServe: without a ready endpoint those that terminate
// and still serve are used (KEP-1669).
func TestServersThatTerminateServe(t *testing.T) {
	w := newTown(t, world.Config{KubeProxy: true})
	w.start(world.NodeConfig{})
	tr := w.traffic()
	tr.flow(100)
	var leaving []world.Endpoint
	for _, e := range w.service.Endpoints {
		leaving = append(leaving, world.Endpoint{Pod: e.Pod, NotReady: true, Serving: true, Terminating: true})
	}
	for range 20 {
		w.endpoints(leaving)
		tr.flow(30)
		w.endpoints(leaving[1:])
		w.servers[0].settle(tr)
		w.endpoints([]world.Endpoint{leaving[0], world.Ready(leaving[1].Pod)[0]})
		tr.flow(30)
	}
	tr.unharmed(20)
}

// endpoints publishes the service with other endpoints.
func (w *town) endpoints(e []world.Endpoint) {
	w.t.Helper()
	s := w.service
	s.Endpoints = e
	w.Publish(s)
}

// TestPodsComeAndGo: clients are enrolled, opt out and in again while they work,
// leave, and come again with the old address. What Culvert does not capture
// works by kube-proxy's rules.
func TestPodsComeAndGo(t *testing.T) {
	w := newTown(t, world.Config{KubeProxy: true})
	node := w.start(world.NodeConfig{Args: []string{"--drain-timeout", "2s"}})
	steady := w.traffic()
	steady.flow(100)
	first := descriptors(t, node.PID)
	var last *world.Pod
	rounds, exchanges := 0, 0
	for end := soakUntil(6 * time.Second); rounds < 3 || time.Now().Before(end); rounds++ {
		pod := w.Pod("nomad", world.PodConfig{Like: last})
		last = pod
		tr := startTraffic(t, nomads(pod, w.service)...)
		for range 6 {
			w.waitEnrolled(node, pod, true)
			tr.flow(40)
			w.label(pod, "disabled")
			w.waitEnrolled(node, pod, false)
			tr.flow(40)
			w.label(pod, "enabled")
		}
		tr.stop()
		exchanges += tr.total()
		if tr.faults() > 0 {
			tr.report()
			t.Fatalf("round %d: %d exchanges failed", rounds, tr.faults())
		}
		if err := pod.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d rounds, %d exchanges of pods that came and went, none failed", rounds, exchanges)
	steady.unharmed(rounds)
	w.sameAs("the descriptors", first, func() string { return descriptors(t, node.PID) })
	if n := entries(t, w.BPFFS, "workloads"); n != len(w.Pods()) {
		t.Errorf("the workloads map has %d entries, want %d", n, len(w.Pods()))
	}
}

// nomads are the steady clients without a pause.
func nomads(pod *world.Pod, s world.Service) []client {
	clients := steady(pod, s.VIP4, s.VIP6)
	for i := range clients {
		clients[i].every = time.Millisecond
	}
	return clients
}

// TestOptingInAndOutInHaste does not wait for one change before the next.
func TestOptingInAndOutInHaste(t *testing.T) {
	w := newTown(t, world.Config{KubeProxy: true})
	w.start(world.NodeConfig{})
	tr := startTraffic(t, nomads(w.client, w.service)...)
	for i := range 100 {
		w.label(w.client, []string{"disabled", "enabled"}[i%2])
		tr.flow(5 + i%20)
	}
	tr.unharmed(20)
}

// label enrols or opts out a pod by its label.
func (w *town) label(pod *world.Pod, mesh string) {
	w.t.Helper()
	name := "pod-" + pod.Namespace + "-" + pod.Name + ".yaml"
	text, err := os.ReadFile(filepath.Join(w.Policy, name))
	if err != nil {
		w.t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(text), "  annotations:")
	head, _, _ = strings.Cut(head, "  labels:")
	w.WritePolicy(name, fmt.Sprintf("%s  labels: {culvert.dev/mesh: %s}\n  annotations:%s", head, mesh, rest))
}

// waitEnrolled waits until the node has taken a pod in, or let it go.
func (w *town) waitEnrolled(n *world.Node, pod *world.Pod, want bool) {
	w.t.Helper()
	w.Wait("the pod to be enrolled or let go", func() (bool, error) {
		text, err := n.Get(w.t.Context(), "/debug/workloads")
		_, about, found := strings.Cut(text, `"uid": "`+pod.UID)
		if !found {
			return !want, err
		}
		about, _, _ = strings.Cut(about, "}")
		return want == !strings.Contains(about, `"id": 0,`), err
	})
}
