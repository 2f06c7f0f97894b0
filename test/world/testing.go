package world

import (
	"os"
	"testing"
)

// T is a world that belongs to a test: what cannot be built fails the test at
// once, and the world goes when the test ends.
type T struct {
	*World
	t testing.TB
}

// ForTest builds a world for a test. Without root the test is skipped; with
// the environment variable CI=true it fails, so that nothing is passed over.
func ForTest(t testing.TB, c Config) *T {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("a world of network namespaces needs root")
		}
		t.Skip("a world of network namespaces needs root")
	}
	w, err := New(c)
	if err != nil {
		t.Fatalf("build a world: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range w.nodes {
				t.Logf("log of node %d:\n%s", n.PID, lastLines(n.Output(), 60))
			}
		}
		if err := w.Close(); err != nil {
			t.Errorf("close the world: %v", err)
		}
	})
	return &T{World: w, t: t}
}

// Pod is World.Pod; an error ends the test.
func (w *T) Pod(name string, c PodConfig) *Pod {
	w.t.Helper()
	p, err := w.World.Pod(name, c)
	if err != nil {
		w.t.Fatalf("make pod %s: %v", name, err)
	}
	return p
}

// Publish is World.Publish; an error ends the test.
func (w *T) Publish(s Service) Service {
	w.t.Helper()
	s, err := w.World.Publish(s)
	if err != nil {
		w.t.Fatalf("publish %s: %v", s.Name, err)
	}
	return s
}

// WritePolicy is World.WritePolicy; an error ends the test.
func (w *T) WritePolicy(name, yaml string) {
	w.t.Helper()
	if err := w.World.WritePolicy(name, yaml); err != nil {
		w.t.Fatal(err)
	}
}

// Start starts a process in a place, until the test ends.
func (w *T) Start(in *Place, args ...string) *Process {
	w.t.Helper()
	p, err := in.Start(w.t.Context(), Command{Args: args})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// Run runs a command in a place and returns its output; failure ends the test.
func (w *T) Run(in *Place, args ...string) string {
	w.t.Helper()
	out, err := in.Run(w.t.Context(), args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// Node starts Culvert and waits until it is ready; failure ends the test.
func (w *T) Node(c NodeConfig) *Node {
	w.t.Helper()
	n, err := w.World.StartNode(w.t.Context(), c)
	if err != nil {
		w.t.Fatalf("start the node: %v", err)
	}
	return n
}

// Wait waits for a condition; when it does not hold in time the test ends.
func (w *T) Wait(what string, holds func() (bool, error)) {
	w.t.Helper()
	if err := Wait(w.t.Context(), what, holds); err != nil {
		w.t.Fatal(err)
	}
}
