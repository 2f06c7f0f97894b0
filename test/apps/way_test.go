package apps

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/world"
)

// way is how many connections of one pod to one service went which way, and how
// many requests the proxy answered on them. Unmentioned is none.
type way struct {
	HTTP, TCP float64 // through the proxy, by what it took them for
	Kernel    float64 // endpoint chosen by the kernel
	Requests  float64
	// Failed is how many of them, at most, may end in another way than the ordinary
	// one: some clients end theirs with a reset.
	Failed float64
	// Spare is how many connections to the proxy, at most, a client may make beyond
	// those: one that it never says a word on counts as TCP.
	Spare float64
}

// source is what the server sees a client's connection to come from. Behind the
// proxy a Service's endpoints are those of its primary family; the kernel stays
// within the family that was dialled.
func (f *fixture) source(in *world.Pod, s service) string {
	if s.v6 && opaque(s.name) {
		return in.IP6.String()
	}
	return in.IP4.String()
}

// own is the pod's own address in the family of the service's.
func (f *fixture) own(in *world.Pod, s service) string {
	if s.v6 {
		return in.IP6.String()
	}
	return in.IP4.String()
}

// captured is what the connect hooks counted, on the whole node.
type captured map[string]float64

// service names a port of the fixture's services as clients dial it.
type service struct {
	name string // as in services()
	v6   bool
}

// key is the service's label in metrics.
func (f *fixture) key(t *testing.T, s service) string {
	t.Helper()
	return fmt.Sprintf("default/%s:%d", s.name, f.addr(t, s).Port())
}

func (s service) String() string {
	if s.v6 {
		return s.name + " over IPv6"
	}
	return s.name
}

// addr is where clients dial it.
func (f *fixture) addr(t *testing.T, s service) netip.AddrPort {
	t.Helper()
	published, ok := f.services[s.name]
	if !ok {
		t.Fatalf("there is no service %q", s.name)
	}
	if s.v6 {
		return netip.AddrPortFrom(published.VIP6, published.Ports[0].Port)
	}
	return netip.AddrPortFrom(published.VIP4, published.Ports[0].Port)
}

// url is the service's address as the root of URLs, without the last slash.
func (f *fixture) url(t *testing.T, s service) string {
	t.Helper()
	return "http://" + f.addr(t, s).String()
}

// went runs do and proves by the node's counters that the pod's connections to
// the service went exactly the way that want says, and that the kernel sent no
// other connection of the node to the proxy or to an endpoint.
func (f *fixture) went(t *testing.T, from *world.Pod, s service, want way, do func()) {
	t.Helper()
	const tries = 5
	for range tries {
		before, hooksBefore := f.counters(t, from, s)
		do()
		if t.Failed() {
			return
		}
		got, hooks := f.settle(t, from, s, want, before, hooksBefore)
		if got.is(want) && hooks["to_proxy"] == got.HTTP+got.TCP && hooks["to_endpoint"] == got.Kernel {
			return
		}
		if hooks["away_open"] == 0 {
			t.Errorf("%v from %s went %+v, want %+v; the hooks did %v", s, from.Name, got, want, hooks)
			return
		}
		// The machine did not let the node run for as long as a heartbeat is good
		// for. Then open services are dialled directly, as they should be.
		t.Logf("%v: the node's heartbeat was late, the hooks did %v (longest turns %v): once more", s, hooks, f.metrics(t).By("proxy_loop_lag_seconds", "loop"))
	}
	t.Errorf("%v: the node's heartbeat was late in each of %d tries", s, tries)
}

// settle waits until the counters have changed as wanted, or will not: a
// connection is counted by the proxy when it sees it ended, which may be a little
// later than its client. It returns the changes.
func (f *fixture) settle(t *testing.T, from *world.Pod, s service, want, before way, hooksBefore captured) (got way, hooks captured) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_ = world.Wait(ctx, "the counters", func() (bool, error) {
		after, now := f.counters(t, from, s)
		got, hooks = after.since(before), now.since(hooksBefore)
		return got.is(want) || hooks["away_open"] > 0, nil
	})
	return got, hooks
}

// is tells whether connections went as wanted.
func (w way) is(want way) bool {
	spare := w.HTTP - want.HTTP + w.TCP - want.TCP
	return w.HTTP >= want.HTTP && w.TCP >= want.TCP && spare <= want.Spare && w.Kernel == want.Kernel &&
		w.Requests == want.Requests && w.Failed <= want.Failed
}

func (c captured) since(before captured) captured {
	changed := captured{}
	for reason, n := range c {
		if n != before[reason] {
			changed[reason] = n - before[reason]
		}
	}
	return changed
}

// passed runs do and proves that the hooks let exactly n connects pass untouched
// for a reason, and captured none.
func (f *fixture) passed(t *testing.T, reason string, n float64, do func()) {
	t.Helper()
	before := f.hooks(t)
	do()
	after := f.hooks(t)
	for _, r := range []string{"to_proxy", "to_endpoint", "away_open", "away_closed", "no_endpoint"} {
		if after[r] != before[r] {
			t.Errorf("%v connects left the hooks as %s, want none", after[r]-before[r], r)
		}
	}
	if got := after[reason] - before[reason]; got != n {
		t.Errorf("%v connects passed as %s, want %v", got, reason, n)
	}
}

// and is w and o together.
func (w way) and(o way) way {
	return way{HTTP: w.HTTP + o.HTTP, TCP: w.TCP + o.TCP, Kernel: w.Kernel + o.Kernel,
		Requests: w.Requests + o.Requests, Failed: w.Failed + o.Failed, Spare: w.Spare + o.Spare}
}

func (w way) since(before way) way {
	return way{HTTP: w.HTTP - before.HTTP, TCP: w.TCP - before.TCP, Kernel: w.Kernel - before.Kernel,
		Requests: w.Requests - before.Requests, Failed: w.Failed - before.Failed}
}

func (f *fixture) counters(t *testing.T, from *world.Pod, s service) (way, captured) {
	t.Helper()
	m := f.metrics(t)
	source, key := "default/"+from.Name, f.key(t, s)
	return way{
		HTTP:     m.Sum("proxy_connections_total", "service", key, "source", source, "protocol", "http1"),
		TCP:      m.Sum("proxy_connections_total", "service", key, "source", source, "protocol", "tcp"),
		Kernel:   m.Sum("culvert_capture_balanced_connections_total", "service", key),
		Requests: m.Sum("proxy_requests_total", "service", key, "source", source),
		Failed:   m.Sum("proxy_connection_failures_total", "service", key, "source", source),
	}, m.By("culvert_capture_total", "reason")
}

func (f *fixture) hooks(t *testing.T) captured {
	t.Helper()
	return f.metrics(t).By("culvert_capture_total", "reason")
}

func (f *fixture) metrics(t *testing.T) world.Metrics {
	t.Helper()
	m, err := f.node.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m
}
