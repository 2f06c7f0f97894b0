package xds

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// bed is a client under test, with its control plane.
type bed struct {
	t      *testing.T
	server *scripted
	client *Client
	stop   func()

	// guarded by mu
	mu      sync.Mutex
	applied []Update // oldest first
	fail    error    // what Apply returns
}

// inBubble runs a test with a client and a control plane in virtual time.
func inBubble(t *testing.T, dir string, test func(t *testing.T, b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bed{t: t, server: startScripted(t)}
		b.start(dir)
		defer func() {
			b.stop()
			b.server.server.Stop()
			idle()
		}()
		test(t, b)
	})
}

func (b *bed) start(dir string) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	client, err := New(Config{Node: "n1", Dialer: b.server.dial, StateDir: dir, Apply: b.apply})
	if err != nil {
		b.t.Fatal(err)
	}
	b.client = client
	done := make(chan error, 1)
	go func() { done <- client.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run: %v", err)
		}
	}
}

func (b *bed) apply(_ context.Context, u Update) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail == nil {
		b.applied = append(b.applied, u)
	}
	return b.fail
}

func (b *bed) failWith(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = err
}

// count is how many updates were applied, when there is nothing left to do.
func (b *bed) count() int {
	idle()
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.applied)
}

// stream waits for the client's next stream.
func (b *bed) stream() *scriptedStream { return <-b.server.streams }

// last is the newest applied update.
func (b *bed) last() Update {
	b.t.Helper()
	if b.count() == 0 {
		b.t.Fatal("nothing was applied")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.applied[len(b.applied)-1]
}

func (b *bed) services() []string {
	b.t.Helper()
	var names []string
	for _, s := range b.last().Snapshot.Services {
		names = append(names, s.Name)
	}
	return names
}

// shop sends one routed service with everything that it needs.
func shop(x *scriptedStream) {
	x.ack(clusters, list(edsCluster("shop/api:80")))
	x.ack(endpoints, list(assign("shop/api:80", "10.1.0.1")))
	x.ack(listeners, list(routed("shop/api:80", "10.0.0.1")))
	x.ack(routes, list(table1("shop/api:80", forward("shop/r/0", "shop/api:80"))))
	x.ack(workloads, list(pod("a")))
}

func TestFirstConfigurationIsAppliedWhole(t *testing.T) {
	inBubble(t, "", func(t *testing.T, b *bed) {
		x := b.stream()
		first := x.drain()
		var asked []string
		for _, r := range first {
			asked = append(asked, r.TypeUrl+" "+strings.Join(r.ResourceNamesSubscribe, ","))
			if r.GetNode().GetId() != "n1" {
				t.Errorf("request without the node: %v", r)
			}
		}
		want := []string{typeURLs[clusters] + " *", typeURLs[listeners] + " *", typeURLs[workloads] + " *"}
		if !slices.Equal(asked, want) {
			t.Fatalf("asked for %q, want %q", asked, want)
		}
		x.ack(workloads, list(pod("a")))
		x.ack(listeners, list(routed("shop/api:80", "10.0.0.1")))
		x.ack(routes, list(table1("shop/api:80", forward("shop/r/0", "shop/api:80"))))
		x.ack(clusters, list(edsCluster("shop/api:80")))
		if b.count() != 0 {
			t.Fatal("applied before the endpoints were there")
		}
		if w := b.client.Status().Waiting; !slices.Contains(w, `endpoints "shop/api:80": named by cluster shop/api:80`) {
			t.Fatalf("waiting for %q", w)
		}
		x.ack(endpoints, list(assign("shop/api:80", "10.1.0.1")))
		u := b.last()
		if got := b.services(); !slices.Equal(got, []string{"shop/api:80"}) || b.count() != 1 {
			t.Fatalf("services %q after %d updates", got, b.count())
		}
		if e := u.Snapshot.Backends[0].Endpoints; len(e) != 1 || !e[0].Ready {
			t.Fatalf("endpoints %v", e)
		}
		if len(u.Workloads) != 1 || u.Workloads[0].Netns != "/run/netns/a" {
			t.Fatalf("workloads %+v", u.Workloads)
		}
	})
}

func TestRouteWaitsForItsCluster(t *testing.T) {
	inBubble(t, "", func(t *testing.T, b *bed) {
		x := b.stream()
		shop(x)
		x.ack(routes, list(table1("shop/api:80", forward("shop/new/0", "shop/v2:80"))))
		if r := b.last().Snapshot.Services[0].Rules[0].Name; r != "shop/r/0" {
			t.Fatalf("rule %q is live before its cluster", r)
		}
		x.ack(clusters, list(edsCluster("shop/v2:80")))
		x.ack(endpoints, list(assign("shop/v2:80", "10.1.0.2")))
		if r := b.last().Snapshot.Services[0].Rules[0].Name; r != "shop/new/0" {
			t.Fatalf("rule %q is live after its cluster came", r)
		}
		// A cluster that is taken away stays as long as the route names it.
		x.ack(clusters, nil, "shop/v2:80")
		x.ack(workloads, list(pod("b")))
		if s := b.last().Snapshot.Services[0].Rules[0].Action.Forward.Shares[0]; s.Backend == nil {
			t.Fatal("a removed cluster went while a live route named it")
		}
		x.ack(routes, list(table1("shop/api:80", forward("shop/r/0", "shop/api:80"))))
		if n := len(b.last().Snapshot.Backends); n != 1 {
			t.Fatalf("%d backends after nothing names the removed one", n)
		}
	})
}

func TestMissingClusterIsGivenUp(t *testing.T) {
	inBubble(t, "", func(t *testing.T, b *bed) {
		x := b.stream()
		shop(x)
		x.ack(routes, list(table1("shop/api:80", forward("shop/new/0", "shop/gone:80"))))
		time.Sleep(14 * time.Second)
		if r := b.last().Snapshot.Services[0].Rules[0].Name; r != "shop/r/0" {
			t.Fatalf("rule %q is live before the wait is over", r)
		}
		time.Sleep(2 * time.Second)
		rule := b.last().Snapshot.Services[0].Rules[0]
		if rule.Name != "shop/new/0" || rule.Action.Forward.Shares[0].Backend != nil {
			t.Fatalf("after the wait: %+v", rule)
		}
	})
}

func TestFirstConfigurationDoesNotWaitForEver(t *testing.T) {
	inBubble(t, "", func(t *testing.T, b *bed) {
		x := b.stream()
		x.ack(clusters, list(edsCluster("shop/api:80"), edsCluster("shop/slow:80")))
		x.ack(endpoints, list(assign("shop/api:80", "10.1.0.1")))
		x.ack(listeners, list(opaque("shop/api:80", "10.0.0.1"), opaque("shop/slow:80", "10.0.0.2")))
		time.Sleep(16 * time.Second) // no workloads, no endpoints of slow
		if got := b.services(); !slices.Equal(got, []string{"shop/api:80"}) {
			t.Fatalf("services %q: a service without its own backend must not be redirected", got)
		}
		x.ack(endpoints, list(assign("shop/slow:80", "10.1.0.2")))
		if got := b.services(); len(got) != 2 {
			t.Fatalf("services %q after the late endpoints", got)
		}
	})
}

func TestBadResourceIsRefusedWholeAndAlone(t *testing.T) {
	inBubble(t, "", func(t *testing.T, b *bed) {
		x := b.stream()
		shop(x)
		bad := edsCluster("shop/api:80")
		bad.DnsRefreshRate = nil
		bad.LbPolicy = 5 // MAGLEV
		answer := x.push(clusters, list(bad, edsCluster("shop/other:80")))
		detail := answer.GetErrorDetail().GetMessage()
		if !strings.Contains(detail, `cluster "shop/api:80": lb_policy: MAGLEV is not supported`) {
			t.Fatalf("error detail %q", detail)
		}
		if codes.Code(answer.GetErrorDetail().GetCode()) != codes.InvalidArgument {
			t.Errorf("code %d", answer.GetErrorDetail().GetCode())
		}
		x.ack(endpoints, list(assign("shop/other:80", "10.1.0.9")))
		var names []string
		for _, be := range b.last().Snapshot.Backends {
			names = append(names, be.Name)
		}
		if !slices.Equal(names, []string{"shop/api:80", "shop/other:80"}) {
			t.Fatalf("backends %q: the old one must stay, the good one be taken", names)
		}
		if r := b.client.Status().Refused; len(r) != 1 || !strings.Contains(r[0], "MAGLEV") {
			t.Errorf("refused %q", r)
		}
		x.ack(clusters, nil, "shop/api:80")
		if r := b.client.Status().Refused; len(r) != 0 {
			t.Errorf("refused %q after the removal", r)
		}
		for _, typ := range b.client.Status().Types {
			if typ.Type == "cluster" && (typ.NACKs != 1 || !strings.Contains(typ.LastNACK, "MAGLEV")) {
				t.Errorf("status %+v", typ)
			}
		}
	})
}

func TestOriginStaysWithItsService(t *testing.T) {
	inBubble(t, "", func(t *testing.T, b *bed) {
		x := b.stream()
		shop(x)
		x.ack(clusters, list(edsCluster("shop/aaa:80")))
		x.ack(endpoints, list(assign("shop/aaa:80", "10.1.0.7")))
		answer := x.push(listeners, list(opaque("shop/aaa:80", "10.0.0.1")))
		if d := answer.GetErrorDetail().GetMessage(); !strings.Contains(d, `"shop/aaa:80"`) || !strings.Contains(d, "belongs to shop/api:80") {
			t.Fatalf("error detail %q", d)
		}
		if got := b.services(); !slices.Equal(got, []string{"shop/api:80"}) {
			t.Fatalf("services %q", got)
		}
		// The loser was kept, and takes the origin when it is free.
		x.ack(listeners, nil, "shop/api:80")
		if got := b.services(); !slices.Equal(got, []string{"shop/aaa:80"}) {
			t.Fatalf("services %q after the origin became free", got)
		}
	})
}

func TestOriginMovesWithinOneResponse(t *testing.T) {
	inBubble(t, "", func(t *testing.T, b *bed) {
		x := b.stream()
		x.ack(workloads, nil)
		x.ack(clusters, list(edsCluster("a/a:80"), edsCluster("a/b:80")))
		x.ack(endpoints, list(assign("a/a:80", "10.1.0.1"), assign("a/b:80", "10.1.0.2")))
		x.ack(listeners, list(opaque("a/a:80", "10.0.0.1"), opaque("a/b:80", "10.0.0.2")))
		x.ack(listeners, list(opaque("a/a:80", "10.0.0.2"), opaque("a/b:80", "10.0.0.1")))
		for _, s := range b.last().Snapshot.Services {
			want := map[string]string{"a/a:80": "10.0.0.2:80", "a/b:80": "10.0.0.1:80"}[s.Name]
			if s.Origins[0].String() != want {
				t.Errorf("%s has %v, want %s", s.Name, s.Origins, want)
			}
		}
	})
}

func TestReconnectTellsVersions(t *testing.T) {
	inBubble(t, "", func(t *testing.T, b *bed) {
		x := b.stream()
		shop(x)
		x.end <- status.Error(codes.Unavailable, "going away")
		y := b.stream()
		got := map[string]string{}
		for _, r := range y.drain() {
			for name, v := range r.InitialResourceVersions {
				k, _ := kindOf(r.TypeUrl)
				got[k.String()+" "+name] = v
			}
		}
		want := map[string]string{"cluster shop/api:80": "v1", "endpoints shop/api:80": "v2", "listener shop/api:80": "v3",
			"route shop/api:80": "v4", "workload a": "v5"}
		for name, v := range want {
			if got[name] != v {
				t.Errorf("initial version of %s is %q, want %q", name, got[name], v)
			}
		}
		if s := b.client.Status(); !s.Connected || !strings.Contains(s.LastError, "going away") {
			t.Errorf("status %+v", s)
		}
		if n := b.count(); n != 1 {
			t.Errorf("%d updates, want the first only", n)
		}
	})
}

func TestStartsFromTheStateFile(t *testing.T) {
	dir := t.TempDir()
	var before string
	inBubble(t, dir, func(t *testing.T, b *bed) {
		shop(b.stream())
		before = b.last().Snapshot.Version
	})
	inBubble(t, dir, func(t *testing.T, b *bed) {
		// The control plane is away: no response is ever sent.
		x := b.stream()
		u := b.last()
		if u.Snapshot.Version != before || len(u.Workloads) != 1 {
			t.Fatalf("restored version %q with %d workloads, want %q", u.Snapshot.Version, len(u.Workloads), before)
		}
		if r := u.Snapshot.Service(u.Snapshot.Services[0].Origins[0]).Rules; len(r) != 1 || r[0].Name != "shop/r/0" {
			t.Fatalf("restored rules %v", r)
		}
		// What it says later is a change like any other, endpoints alone too.
		x.ack(endpoints, list(assign("shop/api:80", "10.1.0.1", "10.1.0.2")))
		if s := b.last().Snapshot; len(s.Services) != 1 || len(s.Backends) != 1 || len(s.Backends[0].Endpoints) != 2 {
			t.Fatalf("after a change of endpoints: %+v", s.Dump())
		}
		x.ack(workloads, nil, "a")
		if n := len(b.last().Workloads); n != 0 {
			t.Fatalf("%d workloads after the removal", n)
		}
		if got := b.services(); len(got) != 1 {
			t.Fatalf("services %q", got)
		}
	})
}

func TestApplyIsTriedAgain(t *testing.T) {
	inBubble(t, "", func(t *testing.T, b *bed) {
		b.failWith(errors.New("map is full"))
		x := b.stream()
		shop(x)
		idle()
		if s := b.client.Status(); s.ApplyError != "map is full" || s.Applied != "" {
			t.Fatalf("status %+v", s)
		}
		b.failWith(nil)
		time.Sleep(time.Second)
		if s := b.client.Status(); s.ApplyError != "" || s.Applied != b.last().Snapshot.Version {
			t.Fatalf("status %+v", s)
		}
	})
}

func TestSnapshotIsBuiltOncePerContent(t *testing.T) {
	inBubble(t, "", func(t *testing.T, b *bed) {
		x := b.stream()
		shop(x)
		first := b.last()
		x.ack(clusters, list(edsCluster("shop/api:80"))) // the same again
		if b.count() != 1 {
			t.Fatalf("%d updates for one content", b.count())
		}
		var s *table.Snapshot = first.Snapshot
		if s.Version == "" {
			t.Fatal("no version")
		}
	})
}
