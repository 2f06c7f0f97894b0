package hostile

import (
	"fmt"
	"testing"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

const (
	idleConnections = 10_000
	// idleBytes is what one may cost the node in memory of its own.
	idleBytes = 2 << 10
)

// TestIdle: keep-alive connections, each of which has carried a request and is
// idle now, cost little.
func TestIdle(t *testing.T) {
	w := world.ForTest(t, world.Config{})
	client, server := w.Pod("client", world.PodConfig{}), w.Pod("server", world.PodConfig{})
	if _, err := server.HTTPPeer(t.Context(), 8080, peer.Faults{}, ""); err != nil {
		t.Fatal(err)
	}
	s := w.Publish(world.Service{Name: "web", Ports: []world.Port{{Port: 80, Target: 8080, AppProtocol: "http"}}, Endpoints: world.Ready(server)})
	node := w.Node(world.NodeConfig{})
	binary, err := world.PeerBinary()
	if err != nil {
		t.Fatal(err)
	}
	hold := func(n int) {
		t.Helper()
		p := w.Start(client.Place, binary, "idle", "--addr", s.Addr4(), "--connections", fmt.Sprint(n))
		w.Wait("idle connections", func() (bool, error) {
			return true, p.WaitOutput(t.Context(), "holding")
		})
	}
	open := func() float64 {
		m, err := node.Metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return m.Sum("proxy_connections_open")
	}
	rss := func() int64 {
		n, err := node.RSS()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	hold(1000) // these pay for tables and pools
	open()
	before := rss()
	hold(idleConnections)
	if n := open(); n != idleConnections+1000 {
		t.Fatalf("%v connections are open", n)
	}
	after := rss()
	each := (after - before) / idleConnections
	t.Logf("an idle connection costs %d bytes of resident memory (%.1f MiB before, %.1f MiB with %d more)",
		each, float64(before)/(1<<20), float64(after)/(1<<20), idleConnections)
	if each > idleBytes {
		t.Errorf("an idle connection costs %d bytes, more than %d", each, idleBytes)
	}
}
