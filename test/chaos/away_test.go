package chaos

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/world"
)

// where the control plane of its own listens.
const controlPlane = "127.0.0.1:15010"

// TestControlPlaneAway: a node whose control plane is gone goes on, starts again
// from what it has on disk, and takes up what has changed when it is back.
func TestControlPlaneAway(t *testing.T) {
	w := newTown(t, world.Config{KubeProxy: true})
	for i, name := range []string{"one", "two"} {
		w.Publish(world.Service{Name: name, Ports: ports()[:1], Endpoints: world.Ready(w.servers[i].pod)})
	}
	w.WritePolicy("route.yaml", route(1))
	guarded := w.guard()
	control := w.controlPlane()
	node := w.remoteNode()
	p := w.probes(guarded)
	p.back(time.Now())
	tr := w.traffic()
	kernel := startTraffic(t, unaware(w.client, guarded)...)
	tr.flow(200)
	control.Kill()
	tr.flow(400)
	tr.stop() // the crash is not orderly
	check(t, stillFine(tr))

	killed := time.Now()
	node.Kill()
	p.away(killed)
	start := time.Now()
	node = w.remoteNode()
	t.Logf("without a control plane, from the start of the process to a request of a closed service: %v", p.back(start).Round(time.Millisecond))
	w.waitVersion(1)
	again := w.traffic()
	again.flow(200)

	// What changes meanwhile counts when the control plane is back.
	w.WritePolicy("route.yaml", route(2))
	start = time.Now()
	control = w.controlPlane()
	w.waitVersion(2)
	t.Logf("from the start of the control plane to what has changed: %v", time.Since(start).Round(time.Millisecond))
	// An orderly end of it is no different.
	check(t, control.Stop(10*time.Second))
	again.flow(200)
	again.unharmed(20)
	kernel.unharmed(100)
	check(t, node.Stop(20*time.Second))
}

func stillFine(tr *traffic) error {
	if n := tr.faults(); n > 0 {
		tr.report()
		return fmt.Errorf("%d exchanges failed", n)
	}
	return nil
}

// controlPlane starts `culvert controlplane` beside the node.
func (w *town) controlPlane() *world.Process {
	w.t.Helper()
	binary, err := w.Binary()
	check(w.t, err)
	p := w.Start(w.Host, binary, "controlplane", "--policy", w.Policy, "--listen", controlPlane)
	check(w.t, p.WaitOutput(w.t.Context(), "control plane started"))
	return p
}

// remoteNode starts a node whose policy comes from there.
func (w *town) remoteNode() *world.Process {
	w.t.Helper()
	binary, err := w.Binary()
	check(w.t, err)
	args := append([]string{binary, "node", "--xds", controlPlane}, w.Flags()...)
	at := slices.Index(args, "--policy")
	p := w.Start(w.Host, slices.Delete(args, at, at+2)...)
	favour(w.t, p.PID)
	check(w.t, p.WaitOutput(w.t.Context(), "configuration applied"))
	return p
}
