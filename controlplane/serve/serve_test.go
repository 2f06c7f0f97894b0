package serve

import (
	"fmt"
	"log/slog"
	"testing"

	culvertv1 "github.com/culvert-mesh/culvert/api/v1"
	"github.com/culvert-mesh/culvert/controlplane/translate"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	subscription "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	"google.golang.org/protobuf/proto"
)

func newServer() *Server { return New(slog.New(slog.DiscardHandler)) }

// watch subscribes to everything of a type, knowing nothing.
func watch(t *testing.T, s *Server, node, typeURL string) (chan cache.DeltaResponse, func()) {
	t.Helper()
	out := make(chan cache.DeltaResponse, 1)
	sub := subscription.NewDeltaSubscription(nil, nil, nil, true)
	cancel, err := s.caches.CreateDeltaWatch(&cache.DeltaRequest{Node: &corev3.Node{Id: node}, TypeUrl: typeURL}, &sub, out)
	if err != nil {
		t.Fatal(err)
	}
	if cancel == nil {
		cancel = func() {}
	}
	return out, cancel
}

func clusters(names ...string) map[string]proto.Message {
	out := map[string]proto.Message{}
	for _, n := range names {
		out[n] = &clusterv3.Cluster{Name: n}
	}
	return out
}

func TestUpdateCountsDifferences(t *testing.T) {
	s := newServer()
	steps := []struct {
		next map[string]proto.Message
		want Changes
	}{
		{clusters("a", "b"), Changes{Changed: 2}},
		{clusters("a", "b"), Changes{}},
		{clusters("b", "c"), Changes{Changed: 1, Removed: 1}},
		{map[string]proto.Message{"b": &clusterv3.Cluster{Name: "b", AltStatName: "x"}}, Changes{Changed: 1, Removed: 1}},
		{nil, Changes{Removed: 1}},
	}
	for i, step := range steps {
		if got := s.Update(&translate.Resources{Clusters: step.next}); got != step.want {
			t.Errorf("step %d: %+v, want %+v", i, got, step.want)
		}
	}
}

// TestNodesCannotFillTheMemory: whoever connects under ever new names leaves nothing.
func TestNodesCannotFillTheMemory(t *testing.T) {
	s := newServer()
	s.Update(&translate.Resources{Workloads: map[string]map[string]proto.Message{"real": {"u": &culvertv1.Workload{Uid: "u"}}}})
	for i := range 100 {
		node := fmt.Sprint("made-up-", i)
		out, cancel := watch(t, s, node, workloadType)
		if r := <-out; len(r.GetReturnedResources()) != 0 {
			t.Fatalf("%s was given %v", node, r.GetReturnedResources())
		}
		cancel()
		s.caches.forget(node)
	}
	s.caches.forget("real")
	if n := len(s.caches.byNode); n != 1 {
		t.Errorf("%d nodes are kept, want the one that has workloads", n)
	}
	out, _ := watch(t, s, "real", workloadType)
	if r := <-out; len(r.GetReturnedResources()) != 1 {
		t.Errorf("the real node was given %v", r.GetReturnedResources())
	}
}

func TestOtherTypesAreNotAnswered(t *testing.T) {
	s := newServer()
	out, cancel := watch(t, s, "n", resource.SecretType)
	defer cancel()
	s.Update(&translate.Resources{Clusters: clusters("a")})
	select {
	case r := <-out:
		t.Errorf("an answer: %v", r)
	default:
	}
}
