package translate

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/culvert-mesh/culvert/controlplane/model"
	"google.golang.org/protobuf/proto"
)

// randomModel has up to 6 services and 4 workloads, each in one of few variants, so
// that a next one keeps some, changes some, and adds and removes some.
func randomModel(random *rand.Rand) *model.Model {
	m := &model.Model{}
	for i := range random.IntN(7) {
		s := &model.Service{Name: model.Name{Namespace: "shop", Name: fmt.Sprintf("s%d", i)}, ClientAffinity: random.IntN(8) == 0}
		if random.IntN(4) > 0 {
			s.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(i)})}
		}
		for number := range uint16(random.IntN(3)) {
			p := model.NewPort(s.Name, 80+number)
			p.Protocol = model.Protocol(random.IntN(3))
			p.Endpoints = make([]model.Endpoint, random.IntN(3))
			for j := range p.Endpoints {
				p.Endpoints[j] = model.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(j)}), 80), Ready: random.IntN(2) == 0}
			}
			if p.Routed = random.IntN(2) == 0; p.Routed {
				p.Rules = []model.Rule{{Name: "shop/r/0", Match: model.Match{Path: "/"},
					Forward: &model.Forward{Backends: []model.Weighted{{Backend: p.ID(), Weight: 1 + random.Uint32N(2)}}}}}
			}
			s.Ports = append(s.Ports, p)
		}
		m.Services = append(m.Services, s)
	}
	for i := range random.IntN(5) {
		m.Workloads = append(m.Workloads, model.Workload{UID: fmt.Sprint(i), Name: model.Name{Namespace: "shop", Name: "p"},
			Node: fmt.Sprintf("n%d", i%2), Netns: fmt.Sprintf("/run/netns/%d", random.IntN(2))})
	}
	return m
}

// kinds lists the maps of resources.
func (r *Resources) kinds() map[string]map[string]proto.Message {
	out := map[string]map[string]proto.Message{"endpoints": r.Endpoints, "clusters": r.Clusters, "routes": r.Routes, "listeners": r.Listeners}
	for node, w := range r.Workloads {
		out["workloads of "+node] = w
	}
	return out
}

// TestTranslatorIsModel: a translator says what a fresh translation says, whatever
// came before, and hands out the same message where nothing changed.
func TestTranslatorIsModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var translator Translator
	var last *model.Model
	for range 400 {
		m := randomModel(random)
		got, want := translator.Next(m).kinds(), Model(m).kinds()
		if len(got) != len(want) {
			t.Fatalf("%d kinds, want %d", len(got), len(want))
		}
		for kind := range want {
			if len(got[kind]) != len(want[kind]) {
				t.Fatalf("%d %s, want %d", len(got[kind]), kind, len(want[kind]))
			}
			for name, message := range want[kind] {
				if !proto.Equal(got[kind][name], message) {
					t.Fatalf("%s %s: %v, want %v (before: %+v)", kind, name, got[kind][name], message, last)
				}
			}
		}
		last = m
	}
	before := translator.last.kinds()
	again := *last
	for kind, messages := range translator.Next(&again).kinds() {
		for name, message := range messages {
			if message != before[kind][name] {
				t.Errorf("%s %s was made again", kind, name)
			}
		}
	}
}
