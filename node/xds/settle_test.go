package xds

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
)

// TestSettleIsChoose: whatever came in whatever order, what is live is what a choice
// among everything gives; a change of endpoints alone goes another, shorter way.
func TestSettleIsChoose(t *testing.T) {
	const services = 4
	random := rand.New(rand.NewPCG(3, 4))
	c, err := New(Config{Target: "x", Apply: func(context.Context, Update) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	s := &session{client: c}
	s.begin()
	short := 0
	for k := range kinds {
		s.opened[k] = true
		s.handle(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURLs[k]})
	}
	for step := range 1000 {
		k := endpoints
		if random.IntN(3) == 0 {
			k = kind(random.UintN(uint(routes) + 1))
		}
		r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURLs[k]}
		for range 1 + random.IntN(3) {
			i := random.IntN(services)
			name, other := fmt.Sprintf("shop/s%d:80", i), fmt.Sprintf("shop/s%d:80", random.IntN(services))
			if random.IntN(8) == 0 {
				r.RemovedResources = append(r.RemovedResources, name)
				continue
			}
			of := map[kind]func() *discoveryv3.Resource{
				clusters:  func() *discoveryv3.Resource { return seed(edsCluster(name)) },
				endpoints: func() *discoveryv3.Resource { return seed(assign(name, fmt.Sprintf("10.1.0.%d", 1+random.IntN(9)))) },
				listeners: func() *discoveryv3.Resource {
					return seed(routed(name, fmt.Sprintf("10.2.0.%d", 1+random.IntN(services))))
				},
				routes: func() *discoveryv3.Resource { return seed(table1(name, forward("shop/r/0", other))) },
			}
			r.Resources = append(r.Resources, of[k]())
		}
		before := c.accepted[endpoints]
		all := k == endpoints && len(r.RemovedResources) == 0
		for _, one := range r.Resources {
			all = all && before[one.GetName()] != nil
		}
		if all {
			short++
		}
		s.handle(r)
		s.queue = nil

		chosen := choose(&c.accepted, c.live, func(ref) bool { return false })
		want, err := build(chosen.next.input(version(chosen.next.resources())))
		if err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		if !reflect.DeepEqual(c.live, chosen.next) {
			t.Fatalf("step %d, %s: live\n%+v, want\n%+v", step, k, c.live, chosen.next)
		}
		if !reflect.DeepEqual(c.snapshot.Dump(), want.Dump()) || !reflect.DeepEqual(c.snapshot.Backends, want.Backends) {
			t.Fatalf("step %d, %s: snapshot\n%+v, want\n%+v", step, k, c.snapshot.Dump(), want.Dump())
		}
	}
	if short < 50 {
		t.Fatalf("only %d changes of endpoints alone", short)
	}
}

// TestNothingStaysOfWhatIsGone: services that come and go, and endpoints that nobody
// asked for, leave nothing behind, neither here nor in what is told.
func TestNothingStaysOfWhatIsGone(t *testing.T) {
	inBubble(t, "", func(t *testing.T, b *bed) {
		x := b.stream()
		shop(x)
		for i := range 3 {
			name := fmt.Sprintf("shop/s%d:80", i)
			x.ack(clusters, list(edsCluster(name)))
			x.ack(endpoints, list(assign(name, "10.1.0.2"), assign("shop/nobody:80", "10.1.0.3")))
			x.ack(listeners, list(routed(name, fmt.Sprintf("10.0.1.%d", i))))
			x.ack(routes, list(table1(name, forward("shop/r/0", name))))
			// In the order of controlplane/serve: what refers first.
			x.ack(listeners, nil, name)
			x.ack(routes, nil, name)
			x.ack(clusters, nil, name)
			x.ack(endpoints, nil, name)
		}
		for _, of := range b.client.Status().Types {
			if len(of.Resources) != 1 {
				t.Errorf("%s: %v, want one resource", of.Type, of.Resources)
			}
		}
		b.stop()
		for k, of := range b.client.accepted {
			if len(of) != 1 {
				t.Errorf("%s: %d accepted, want 1", kind(k), len(of))
			}
		}
		b.start("")
		b.stream()
	})
}

// TestNackIsBounded: rubbish is told, but not at any length.
func TestNackIsBounded(t *testing.T) {
	inBubble(t, "", func(t *testing.T, b *bed) {
		x := b.stream()
		var bad []proto.Message
		for i := range 5 * maxFaults {
			c := edsCluster(fmt.Sprintf("shop/s%d:80", i))
			c.LbPolicy = clusterv3.Cluster_MAGLEV
			bad = append(bad, c)
		}
		told := strings.Split(x.push(clusters, bad).GetErrorDetail().GetMessage(), "\n")
		if last := fmt.Sprintf("and %d more", 4*maxFaults); len(told) != maxFaults+1 || told[maxFaults] != last {
			t.Errorf("%d lines, the last is %q, want %q", len(told), told[len(told)-1], last)
		}
	})
}

// TestRefusedIsNotWaitedFor: one table that cannot be taken holds up neither the
// first configuration nor what is ready; its own service comes when it is mended.
func TestRefusedIsNotWaitedFor(t *testing.T) {
	inBubble(t, "", func(t *testing.T, b *bed) {
		x := b.stream()
		x.ack(clusters, list(edsCluster("shop/api:80"), edsCluster("shop/bad:80")))
		x.ack(endpoints, list(assign("shop/api:80", "10.1.0.1"), assign("shop/bad:80", "10.1.0.2")))
		x.ack(listeners, list(routed("shop/api:80", "10.0.0.1"), routed("shop/bad:80", "10.0.0.2")))
		x.ack(workloads, list(pod("a")))
		bad := table1("shop/bad:80", forward("shop/r/0", "shop/bad:80"))
		bad.VirtualHosts[0].Domains = []string{"example.com"}
		if x.push(routes, list(table1("shop/api:80", forward("shop/r/0", "shop/api:80")), bad)).GetErrorDetail() == nil {
			t.Fatal("no NACK")
		}
		if got := b.services(); !reflect.DeepEqual(got, []string{"shop/api:80"}) {
			t.Fatalf("services %q", got)
		}
		x.ack(routes, list(table1("shop/bad:80", forward("shop/r/0", "shop/bad:80"))))
		if got := b.services(); !reflect.DeepEqual(got, []string{"shop/api:80", "shop/bad:80"}) {
			t.Fatalf("services %q after the repair", got)
		}
	})
}
