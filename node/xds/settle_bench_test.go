package xds

import (
	"context"
	"fmt"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// BenchmarkOneChange is what one changed set of endpoints costs a node that
// knows 2,000 services with a route each: decode, choose, build.
func BenchmarkOneChange(b *testing.B) {
	const services = 2000
	c, err := New(Config{Target: "x", Apply: func(context.Context, Update) error { return nil }})
	if err != nil {
		b.Fatal(err)
	}
	s := &session{client: c}
	s.begin()
	for k := range kinds {
		s.opened[k] = true
	}
	all := map[kind]*discoveryv3.DeltaDiscoveryResponse{}
	add := func(k kind, r *discoveryv3.Resource) {
		if all[k] == nil {
			all[k] = &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURLs[k]}
		}
		all[k].Resources = append(all[k].Resources, r)
	}
	for i := range services {
		name := fmt.Sprintf("shop/s%d:80", i)
		add(clusters, seed(edsCluster(name)))
		add(endpoints, seed(assign(name, "10.1.0.1", "10.1.0.2", "10.1.0.3")))
		add(listeners, seed(routed(name, fmt.Sprintf("10.2.%d.%d", i/250, 1+i%250))))
		add(routes, seed(table1(name, forward("shop/r/0", name))))
	}
	add(workloads, seed(pod("a")))
	for k := range kinds {
		s.handle(all[k])
	}
	if n := len(c.snapshot.Services); n != services || !c.complete {
		b.Fatalf("%d services, complete %t", n, c.complete)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		change := assign("shop/s7:80", fmt.Sprintf("10.1.1.%d", 1+i%250))
		s.handle(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURLs[endpoints], Resources: []*discoveryv3.Resource{seed(change)}})
		s.queue = nil
	}
}
