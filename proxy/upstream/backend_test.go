package upstream_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

func TestTriedComesLast(t *testing.T) {
	a, b, c := address(1), address(2), address(3)
	w := newWorld(t, 1, none, a, b, c)
	for range 20 {
		var tried upstream.Tried
		seen := map[netip.AddrPort]bool{}
		for range 3 {
			seen[w.attempt(&tried, upstream.Cancelled)] = true
		}
		if len(seen) != 3 {
			t.Fatalf("3 attempts went to %v", seen)
		}
		w.attempt(&tried, upstream.Cancelled) // again one of them
		if tried.Len() != 4 {
			t.Fatal(tried.Len())
		}
	}
}

func TestReadiness(t *testing.T) {
	ready := func(n int) table.EndpointInput {
		return table.EndpointInput{Addr: address(n), Ready: true, Serving: true}
	}
	serving := func(n int) table.EndpointInput { return table.EndpointInput{Addr: address(n), Serving: true} }
	off := func(n int) table.EndpointInput { return table.EndpointInput{Addr: address(n)} }
	for _, c := range []struct {
		endpoints []table.EndpointInput
		want      string
	}{
		{[]table.EndpointInput{ready(1), serving(2), off(3)}, "[10.0.0.1:80]"},
		{[]table.EndpointInput{serving(1), serving(2), off(3)}, "[10.0.0.1:80 10.0.0.2:80]"},
		{[]table.EndpointInput{off(3)}, "no_endpoint"},
		{nil, "no_endpoint"},
	} {
		w := newWorld(t, 1, none)
		w.applyInput(c.endpoints...)
		got := map[string]bool{}
		for range 20 {
			w.Do(0, func() {
				l, reason := w.backend().Acquire(w.pools[0], nil)
				defer l.Done(upstream.OK)
				if reason != telemetry.None {
					got[reason.String()] = true
				} else {
					got[l.Endpoint().Addr().String()] = true
				}
			})
		}
		keys := []string{}
		for k := range got {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		if s := fmt.Sprint(keys); s != c.want && s != "["+c.want+"]" {
			t.Errorf("%+v: %s, want %s", c.endpoints, s, c.want)
		}
	}
}

// State outlives snapshots for as long as the endpoint stays.
func TestIdentity(t *testing.T) {
	a, b, c := address(1), address(2), address(3)
	w := newWorld(t, 1, none, a, b)
	w.fail(a, 3)
	w.apply(a, b, c)
	w.applyInput(table.EndpointInput{Addr: a}, table.EndpointInput{Addr: b, Ready: true}, table.EndpointInput{Addr: c, Ready: true})
	w.apply(a, b, c)
	if got := w.endpoint(a); got.Health != "open" || got.Failures != 3 {
		t.Fatalf("an endpoint that stayed lost its state: %+v", got)
	}
	w.apply(b, c)
	w.apply(a, b, c)
	if got := w.endpoint(a); got.Health != "closed" || got.Failures != 0 {
		t.Fatalf("an endpoint that had left kept its state: %+v", got)
	}
}

// A request that began under a view whose backend is gone still gets a lease.
func TestOldViewOfAGoneBackend(t *testing.T) {
	w := newWorld(t, 1, none, address(1))
	old := w.backend()
	if _, err := table.Build(table.Input{}); err != nil {
		t.Fatal(err)
	}
	empty, _ := table.Build(table.Input{})
	w.registry.Apply(empty)
	w.Do(0, func() {
		l, reason := old.Acquire(w.pools[0], nil)
		if reason != telemetry.None {
			t.Error(reason)
		}
		l.Done(upstream.OK)
	})
	if n := len(w.registry.Dump()); n != 0 {
		t.Fatalf("%d backends", n)
	}
}

func TestRetryBudget(t *testing.T) {
	w := newWorld(t, 1, none, address(1))
	b := w.backend()
	for i := range 3 {
		if !b.TakeRetry() {
			t.Fatalf("retry %d of the floor was refused", i)
		}
	}
	if b.TakeRetry() {
		t.Fatal("the floor is 3")
	}
	var leases []upstream.Lease
	w.Do(0, func() {
		for range 25 {
			l, _ := b.Acquire(w.pools[0], nil)
			leases = append(leases, l)
		}
	})
	if !b.TakeRetry() || !b.TakeRetry() || b.TakeRetry() {
		t.Fatal("20 % of 25 live are 5")
	}
	if s := w.registry.Summaries()[0]; s.Live != 25 || s.Retries != 5 || s.RetryLimit != 5 {
		t.Fatalf("%+v", s)
	}
	for range 5 {
		b.GiveRetry()
	}
	w.Do(0, func() {
		for i := range leases {
			leases[i].Done(upstream.OK)
			leases[i].Done(upstream.OK) // the second time is nothing
		}
	})
	if s := w.registry.Summaries()[0]; s.Live != 0 || s.Retries != 0 {
		t.Fatalf("%+v", s)
	}
}
