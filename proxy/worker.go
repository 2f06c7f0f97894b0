package proxy

import (
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/culvert-mesh/culvert/proxy/detect"
	"github.com/culvert-mesh/culvert/proxy/l4"
	"github.com/culvert-mesh/culvert/proxy/l7"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// refreshAfter is how long after a publication a loop lets go of what idle
// connections and series hold of earlier snapshots: long enough that a storm of
// publications costs one walk over the connections a second.
const refreshAfter = time.Second

// worker is the server's part on one loop. All but assigned belongs to the loop.
type worker struct {
	// set at construction
	server   *Server
	loop     *reactor.Loop
	engine   *l7.Engine
	pools    *upstream.Pools
	recorder *telemetry.Recorder

	// written by all loops
	assigned atomic.Int64 // connections, those on their way included

	// owned by the loop
	pipes       l4.Buffers
	scratch     [detect.Enough]byte // of detection, from a read to what follows it
	connections connection          // sentinel of a ring
	refreshes   reactor.Timer
	draining    bool
}

func newWorker(s *Server, loop *reactor.Loop, recorder *telemetry.Recorder) *worker {
	w := &worker{server: s, loop: loop, pools: s.registry.NewPools(loop), recorder: recorder}
	w.engine = l7.NewEngine(l7.Config{
		Loop: loop, Tables: &s.tables, Pools: w.pools, Recorder: recorder, Limits: s.config.Limits.HTTP,
	})
	w.connections.next, w.connections.prev = &w.connections, &w.connections
	w.refreshes.F = w.refresh
	return w
}

// adopt begins a connection on this loop.
func (w *worker) adopt(from *workload, fd int, peer netip.AddrPort) {
	client, err := w.loop.Adopt(fd, peer)
	if err != nil {
		w.assigned.Add(-1)
		w.recorder.ConnEnded(&telemetry.ConnReport{
			Source: &from.source, Reason: telemetry.Overload, Start: w.loop.Now(), End: w.loop.Now(),
		})
		return
	}
	c := &connection{worker: w, workload: from, client: client}
	c.report = telemetry.ConnReport{Source: &from.source, Start: w.loop.Now()}
	c.prev, c.next = w.connections.prev, &w.connections
	c.prev.next, c.next.prev = c, c
	w.loop.Go(c)
	cut := from.cut.Load()
	if w.draining || cut != 0 {
		w.drain(c)
	}
	if cut != 0 { // it was on its way to this loop when the others were told
		w.loop.After(&reactor.Timer{F: c.abort}, time.Duration(cut-w.loop.Now()))
	}
}

// remove takes a connection off the list; false: it was off already.
func (w *worker) remove(c *connection) bool {
	if c.next == nil {
		return false
	}
	c.prev.next, c.next.prev = c.next, c.prev
	c.next, c.prev = nil, nil
	w.assigned.Add(-1)
	return true
}

// each calls f for every connection; f may end the one that it is given.
func (w *worker) each(f func(*connection)) {
	for c := w.connections.next; c != &w.connections; {
		next := c.next
		f(c)
		c = next
	}
}

// drain drains a connection; what is idle for longer than the grace is closed.
func (w *worker) drain(c *connection) {
	c.drain()
	w.loop.After(&reactor.Timer{F: c.drained}, drainGrace+rand.N(drainSpread))
}

// forget drains a workload's connections, and aborts what is left in the end.
func (w *worker) forget(gone *workload) {
	of := func(f func(*connection)) {
		w.each(func(c *connection) {
			if c.workload == gone {
				f(c)
			}
		})
	}
	of(w.drain)
	w.loop.After(&reactor.Timer{F: func() { of((*connection).abort) }}, time.Duration(gone.cut.Load()-w.loop.Now()))
}

// drainAll drains every connection, also those that are still to come.
func (w *worker) drainAll() {
	w.draining = true
	w.each(w.drain)
}

func (w *worker) scheduleRefresh() {
	if !w.refreshes.Armed() {
		w.loop.After(&w.refreshes, refreshAfter)
	}
}

// refresh lets go of earlier snapshots.
func (w *worker) refresh() {
	snapshot := w.server.Snapshot()
	services := make(map[string]bool, len(snapshot.Services))
	for _, service := range snapshot.Services {
		services[service.Name] = true
	}
	sources := *w.server.sources.Load()
	w.recorder.Retain(w.loop.Now(), func(service, source string) bool { return services[service] && sources[source] })
	w.each(func(c *connection) {
		if service := snapshot.Service(c.report.Origin); service != nil {
			c.report.Service = service
		}
		c.http.Refresh()
	})
}
