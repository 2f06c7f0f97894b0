package xds

import (
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// FuzzResponse mutates the bytes of a response. Whatever decode takes, together
// with what was there before, must choose and build. A panic of table.Build
// counts as a failure although build recovers from it.
func FuzzResponse(f *testing.F) {
	base := []proto.Message{edsCluster("a/b:80"), assign("a/b:80", "10.1.0.1"), opaque("a/b:80", "10.0.0.1"),
		routed("a/c:80", "10.0.0.2"), detected("a/d:80", "10.0.0.3"), table1("a/c:80", forward("a/r/0", "a/b:80")), pod("a")}
	for i := range base {
		all := &discoveryv3.DeltaDiscoveryResponse{}
		for _, m := range base[:i+1] {
			all.Resources = append(all.Resources, seed(m))
		}
		raw, err := proto.Marshal(all)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		response := &discoveryv3.DeltaDiscoveryResponse{}
		if proto.Unmarshal(raw, response) != nil {
			return
		}
		accepted := newSet()
		for _, m := range base {
			put(t, &accepted, seed(m))
		}
		before := choose(&accepted, newLive(), func(ref) bool { return false }).next
		for _, m := range response.GetResources() {
			put(t, &accepted, m)
		}
		for _, givenUp := range []bool{false, true} {
			next := choose(&accepted, before, func(ref) bool { return givenUp }).next
			if _, err := build(next.input("1")); err != nil {
				t.Fatalf("accepted resources do not build: %v", err)
			}
			next.list()
		}
	})
}

func seed(m proto.Message) *discoveryv3.Resource {
	body, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return &discoveryv3.Resource{Name: nameOf(m), Version: "1", Resource: body}
}

func put(t *testing.T, accepted *set, m *discoveryv3.Resource) {
	k, known := kindOf(m.GetResource().GetTypeUrl())
	if !known {
		return
	}
	r, err := decode(k, m)
	if err == nil {
		accepted.put(r)
	} else if strings.Contains(err.Error(), "panic") {
		t.Fatal(err)
	}
}
