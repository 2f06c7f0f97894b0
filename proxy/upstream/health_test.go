package upstream_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

var none = upstream.PoolConfig{}

func TestEjectProbeRecover(t *testing.T) {
	a, b := address(1), address(2)
	w := newWorld(t, 1, none, a, b)
	stop := w.listen()
	w.fail(a, 3)
	if got := w.endpoint(a); got.Health != "open" || got.Ejections != 1 || got.Failures != 3 {
		t.Fatalf("after 3 failures: %+v", got)
	}
	for range 20 {
		if at := w.attempt(nil, upstream.OK); at != b {
			t.Fatalf("an ejected endpoint was leased")
		}
	}
	w.Advance(time.Second)
	w.fail(a, 1) // the probe
	if got := w.endpoint(a); got.Health != "open" || got.Ejections != 2 {
		t.Fatalf("after a failed probe: %+v", got)
	}
	w.Advance(time.Second)
	w.Advance(time.Second)
	for range 4 {
		w.attempt(nil, upstream.OK)
	}
	if got := w.endpoint(a); got.Health != "closed" || got.ConsecutiveFailures != 0 {
		t.Fatalf("after a good probe: %+v", got)
	}
	w.awaitChanges(5)
	want := []string{"closed>open", "open>half_open", "half_open>open", "open>half_open", "half_open>closed"}
	for i := range want {
		want[i] = fmt.Sprintf("%s %s", a, want[i])
	}
	if got := stop(); !slices.Equal(got, want) {
		t.Errorf("changes %v, want %v", got, want)
	}
}

// awaitChanges gives Run the time to hand over what is queued, up to n.
func (w *world) awaitChanges(n int) {
	for deadline := time.Now().Add(100 * time.Millisecond); time.Now().Before(deadline); {
		w.mu.Lock()
		got := len(w.changes)
		w.mu.Unlock()
		if got >= n {
			return
		}
		w.Settle()
	}
}

func TestOneProbeAtATime(t *testing.T) {
	a, b := address(1), address(2)
	w := newWorld(t, 1, none, a, b)
	w.fail(a, 3)
	w.Advance(time.Second)
	var probe upstream.Lease
	w.Do(0, func() {
		for !probe.Probe() {
			probe, _ = w.backend().Acquire(w.pools[0], nil)
			if !probe.Probe() {
				probe.Done(upstream.OK)
			}
		}
	})
	for range 20 {
		if at := w.attempt(nil, upstream.OK); at != b {
			t.Fatal("a second request beside the probe")
		}
	}
	w.Do(0, func() { probe.Done(upstream.Cancelled) })
	if got := w.endpoint(a); got.Health != "open" {
		t.Fatalf("after a cancelled probe: %+v", got)
	}
	for range 4 {
		w.attempt(nil, upstream.OK) // one of them is the next probe
	}
	if got := w.endpoint(a); got.Health != "closed" {
		t.Fatalf("the probe was lost: %+v", got)
	}
}

// A probe whose response streams for hours settles with its head.
func TestLearnSettlesAProbeEarly(t *testing.T) {
	a, b := address(1), address(2)
	w := newWorld(t, 1, none, a, b)
	w.fail(a, 3)
	w.Advance(time.Second)
	w.Do(0, func() {
		for range 2 {
			l, _ := w.backend().Acquire(w.pools[0], nil)
			defer l.Done(upstream.Reset) // must not count any more
			l.Learn(upstream.OK)
		}
	})
	if got := w.endpoint(a); got.Health != "closed" || got.ConsecutiveFailures != 0 || got.InFlight != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestLastUsableIsKeptAndSaysSo(t *testing.T) {
	a, b := address(1), address(2)
	w := newWorld(t, 1, none, a, b)
	stop := w.listen()
	w.fail(a, 3)
	w.fail(b, 30)
	if got := w.endpoint(b); got.Health != "last" || got.Ejections != 0 {
		t.Fatalf("the last one: %+v", got)
	}
	if s := w.registry.Summaries()[0]; s.Usable != 1 || s.Lasts != 1 {
		t.Fatalf("%+v", s)
	}
	w.Advance(time.Second)
	for w.endpoint(a).Health != "closed" {
		w.Do(0, func() {
			l, _ := w.backend().Acquire(w.pools[0], nil)
			if l.Endpoint().Addr() == a {
				l.Done(upstream.OK)
			} else {
				l.Done(upstream.Cancelled)
			}
		})
	}
	w.fail(b, 1) // now that there is another
	if got := w.endpoint(b); got.Health != "open" {
		t.Fatalf("still kept: %+v", got)
	}
	w.awaitChanges(5)
	want := []string{
		fmt.Sprintf("%s closed>open", a), fmt.Sprintf("%s closed>last", b),
		fmt.Sprintf("%s open>half_open", a), fmt.Sprintf("%s half_open>closed", a),
		fmt.Sprintf("%s last>open", b),
	}
	if got := stop(); !slices.Equal(got, want) {
		t.Errorf("changes %v, want %v", got, want)
	}
}

func TestLastRecovers(t *testing.T) {
	a := address(1)
	w := newWorld(t, 1, none, a)
	w.fail(a, 10)
	if got := w.endpoint(a).Health; got != "last" {
		t.Fatal(got)
	}
	w.attempt(nil, upstream.OK)
	if got := w.endpoint(a).Health; got != "closed" {
		t.Fatal(got)
	}
}

func TestOnlyEjectedOnesAreLeft(t *testing.T) {
	a, b, c := address(1), address(2), address(3)
	w := newWorld(t, 1, none, a, b, c)
	w.fail(a, 3)
	w.Advance(300 * time.Millisecond) // more than the jitter of 200 ms
	w.fail(b, 3)
	w.apply(a, b)
	if got := [2]string{w.endpoint(a).Health, w.endpoint(b).Health}; got != [2]string{"last", "open"} {
		t.Fatalf("%v: the one that has waited longest should be used", got)
	}
	if at := w.attempt(nil, upstream.OK); at != a {
		t.Fatal(at)
	}
}

func TestCancelledTeachesNothing(t *testing.T) {
	a, b := address(1), address(2)
	w := newWorld(t, 1, none, a, b)
	for range 100 {
		w.attempt(nil, upstream.Cancelled)
	}
	if w.endpoint(a).Health != "closed" || w.endpoint(a).Failures != 0 {
		t.Fatalf("%+v", w.endpoint(a))
	}
}

func TestDisabledBreaker(t *testing.T) {
	a, b := address(1), address(2)
	w := newWorld(t, 1, none, a, b)
	w.fail(a, 3)
	w.breaker().Disabled = true
	w.apply(a, b)
	if w.endpoint(a).Health != "closed" {
		t.Fatal("an endpoint stays ejected by a breaker that was switched off")
	}
	w.fail(a, 20)
}

// Whatever happens, there is a usable endpoint while there is a candidate, and
// the count of them is what the breakers say.
func TestUsableUnderRandomEvents(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	w := newWorld(t, 1, none)
	for range 60 {
		var in []table.EndpointInput
		for n := range 5 {
			if random.IntN(2) == 0 {
				in = append(in, table.EndpointInput{Addr: address(n), Ready: random.IntN(4) > 0, Serving: true})
			}
		}
		w.applyInput(in...)
		for range 5 {
			w.Advance(time.Duration(random.IntN(1500)) * time.Millisecond)
			w.Do(0, func() {
				for range 30 {
					l, reason := w.backend().Acquire(w.pools[0], nil)
					if (reason == telemetry.None) != (len(in) > 0) {
						t.Errorf("%d endpoints: %s", len(in), reason)
					}
					l.Done(upstream.Outcome(random.IntN(6)))
				}
			})
			w.checkUsable()
		}
	}
}

// checkUsable compares the count with the breakers, when nothing moves.
func (w *world) checkUsable() {
	w.t.Helper()
	d := w.registry.Dump()[0]
	anyReady := slices.ContainsFunc(d.List, func(e upstream.EndpointDump) bool { return e.Ready })
	usable := 0
	for _, e := range d.List {
		if (e.Ready || !anyReady) && (e.Health == "closed" || e.Health == "last") {
			usable++
		}
		if e.InFlight != 0 {
			w.t.Fatalf("%+v has requests in flight", e)
		}
	}
	if usable != d.Usable || d.Candidates > 0 && usable == 0 {
		w.t.Fatalf("%d usable by the breakers: %+v", usable, d)
	}
}

// The same on two loops, with the snapshot changing beneath them.
func TestUsableAmongLoops(t *testing.T) {
	w := newWorld(t, 2, none, address(1), address(2), address(3))
	backend := w.backend()
	var wg sync.WaitGroup
	for loop := range 2 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(loop), 3))
			for range 300 {
				w.Do(loop, func() {
					for range 20 {
						l, _ := backend.Acquire(w.pools[loop], nil)
						l.Done(upstream.Outcome(random.IntN(6)))
					}
				})
			}
		})
	}
	for i := range 100 {
		w.apply(address(1), address(2+i%3), address(5))
		w.Advance(50 * time.Millisecond)
	}
	wg.Wait()
	w.checkUsable()
	if backend.Live() != 0 {
		t.Fatal(backend.Live())
	}
}
