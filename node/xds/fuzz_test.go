package xds

import (
	"math/rand/v2"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// everything is one resource of each shape that is supported.
func everything() []proto.Message {
	rich := table1("a/c:80", forward("a/r/0", "a/b:80"), forward("a/r/1", "a/b:80"), forward("a/r/2", "a/b:80"))
	routes := rich.VirtualHosts[0].Routes
	routes[0].Match = &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: "/a"},
		Headers: []*routev3.HeaderMatcher{{Name: "x-a", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
			StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "1"}}}}},
		QueryParameters: []*routev3.QueryParameterMatcher{{Name: "q", QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}}}}
	action := routes[0].GetRoute()
	action.PrefixRewrite = "/b"
	action.RetryPolicy = &routev3.RetryPolicy{RetryOn: "5xx", NumRetries: wrapperspb.UInt32(2), PerTryTimeout: durationpb.New(1e9),
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(1e6), MaxInterval: durationpb.New(1e7)}}
	action.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{
		Clusters: []*routev3.WeightedCluster_ClusterWeight{{Name: "a/b:80", Weight: wrapperspb.UInt32(9)}, {Name: "a/x:80", Weight: wrapperspb.UInt32(1)}}}}
	routes[1].Action = &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{PortRedirect: 80, ResponseCode: routev3.RedirectAction_FOUND}}
	routes[1].ResponseHeadersToAdd = []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-a", Value: "1"}}}
	routes[2].Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 500}}
	return []proto.Message{edsCluster("a/b:80"), edsCluster("a/d:80"), assign("a/b:80", "10.1.0.1", "10.1.0.2"), assign("a/d:80", "10.1.0.3"),
		opaque("a/b:80", "10.0.0.1"), routed("a/c:80", "10.0.0.2"), detected("a/d:80", "10.0.0.3"), rich, pod("a")}
}

// FuzzResource changes resources at random, from a seed. Whatever decode takes,
// together with what was there before, must choose and build. A panic of
// table.Build counts as a failure although build recovers from it.
func FuzzResource(f *testing.F) {
	for n := range uint64(64) {
		f.Add(n, uint8(1+n%6))
	}
	f.Fuzz(func(t *testing.T, start uint64, changes uint8) {
		r := rand.New(rand.NewPCG(start, 0))
		accepted := newSet()
		base := everything()
		for _, m := range base {
			if k, err := take(t, &accepted, m); err != nil {
				t.Fatalf("%v is refused unchanged: %v", k, err)
			}
		}
		before := choose(&accepted, newLive(), func(ref) bool { return true }).next
		for _, m := range base {
			for range changes % 8 {
				mutate(r, m.ProtoReflect())
			}
			take(t, &accepted, m)
		}
		for _, givenUp := range []bool{false, true} {
			next := choose(&accepted, before, func(ref) bool { return givenUp }).next
			if _, err := build(next.input(version(next.resources()))); err != nil {
				t.Fatalf("accepted resources do not build: %v", err)
			}
			next.list()
		}
	})
}

// FuzzBytes is for what comes before decoding: any bytes as a resource.
func FuzzBytes(f *testing.F) {
	for _, m := range everything() {
		f.Add(uint8(kindFor(f, m)), pack(m).GetValue())
	}
	f.Fuzz(func(t *testing.T, k uint8, body []byte) {
		m := &discoveryv3.Resource{Name: "a/b:80", Resource: pack(edsCluster("x"))}
		m.Resource.TypeUrl, m.Resource.Value = typeURLs[kind(k)%kinds], body
		if _, err := decode(kind(k)%kinds, m); err != nil && strings.Contains(err.Error(), "panic") {
			t.Fatal(err)
		}
	})
}

// take accepts a message as a client does.
func take(t *testing.T, accepted *set, m proto.Message) (kind, error) {
	k := kindFor(t, m)
	r, err := decode(k, seed(m))
	if err == nil {
		accepted.put(r)
	} else if strings.Contains(err.Error(), "panic") {
		t.Fatal(err)
	}
	return k, err
}

func seed(m proto.Message) *discoveryv3.Resource {
	return &discoveryv3.Resource{Name: nameOf(m), Version: "1", Resource: pack(m)}
}
