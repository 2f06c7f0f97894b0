package upstream_test

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// cycle is what a request does here, from Acquire to Done.
func (w *world) cycle() {
	var tried upstream.Tried
	l, _ := w.backend().Acquire(w.pools[0], &tried)
	c, _, _ := l.Conn(7, false)
	l.Keep(c)
	l.Done(upstream.OK)
}

func TestAttemptAllocatesNothing(t *testing.T) {
	var servers []netip.AddrPort
	for range 3 {
		servers = append(servers, proxytest.Listen(t).Addr())
	}
	w := newWorld(t, 1, none, servers...)
	w.Run(0, func() {
		for range 10 {
			w.cycle()
		}
		if n := testing.AllocsPerRun(200, w.cycle); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
	w.fail(servers[0], 3)
	w.Run(0, func() {
		if n := testing.AllocsPerRun(200, w.cycle); n != 0 {
			t.Errorf("with an ejected endpoint: %v allocations", n)
		}
	})
}

// The live side of a large cluster stays small.
func TestMemory(t *testing.T) {
	var in table.Input
	for i := range 5000 {
		b := table.BackendInput{Name: string(rune('a'+i%26)) + "/" + address(i).String()}
		for j := range 10 {
			b.Endpoints = append(b.Endpoints, table.EndpointInput{Addr: address(i*10 + j), Ready: true})
		}
		in.Backends = append(in.Backends, b)
	}
	s, err := table.Build(in)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := upstream.NewRegistry(upstream.Config{Loops: 8})
	start := time.Now()
	r.Apply(s)
	first := time.Since(start)
	start = time.Now()
	r.Apply(s)
	again := time.Since(start)
	runtime.GC()
	runtime.ReadMemStats(&after)
	bytes := after.HeapAlloc - before.HeapAlloc
	t.Logf("50,000 endpoints, 5,000 backends, 8 loops: %d KiB; applied in %s, without a change %s", bytes>>10, first, again)
	if bytes > 32<<20 {
		t.Errorf("%d bytes", bytes)
	}
	runtime.KeepAlive(r)
	runtime.KeepAlive(in)
}

func BenchmarkAttempt(b *testing.B) {
	w := newWorld(b, 1, none, proxytest.Listen(b).Addr())
	b.ReportAllocs()
	w.Run(0, func() {
		w.cycle()
		b.ResetTimer()
		for range b.N {
			w.cycle()
		}
	})
}

// Two loops share the endpoints' counters and nothing else.
func BenchmarkAcquireDoneOnTwoLoops(b *testing.B) {
	w := newWorld(b, 2, none, address(1), address(2), address(3))
	b.ReportAllocs()
	var done [2]<-chan struct{}
	for loop := range done {
		done[loop] = w.Go(loop, func() {
			for range b.N {
				l, _ := w.backend().Acquire(w.pools[loop], nil)
				l.Done(upstream.OK)
			}
		})
	}
	for _, d := range done {
		<-d
	}
}

func BenchmarkAcquireDone(b *testing.B) {
	for name, n := range map[string]int{"3": 3, "1000": 1000} {
		var endpoints []netip.AddrPort
		for i := range n {
			endpoints = append(endpoints, address(i))
		}
		w := newWorld(b, 1, none, endpoints...)
		run := func(b *testing.B) {
			b.ReportAllocs()
			w.Run(0, func() {
				b.ResetTimer()
				for range b.N {
					l, _ := w.backend().Acquire(w.pools[0], nil)
					l.Done(upstream.OK)
				}
			})
		}
		b.Run(name, run)
		w.fail(endpoints[0], 3)
		b.Run(name+"/one ejected", run)
	}
}
