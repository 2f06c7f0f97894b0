package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/proxy/l7"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// OriginFinder tells what a client dialled from the local address of the
// connection that was accepted in its place; false: nothing that is known. It is
// called on a loop and must not block.
type OriginFinder interface {
	Origin(local netip.AddrPort) (origin netip.AddrPort, ok bool)
}

// Dialer opens sockets in the namespaces of workloads; see upstream.Dialer.
type Dialer = upstream.Dialer

// Workload is a client of the proxy.
type Workload struct {
	// ID is unique on this node; dialers know workloads by it.
	ID uint32
	// Namespace and Name are the metric label source.
	Namespace, Name string
	UID             string
}

// Limits bound what is held and waited for.
type Limits struct {
	// HTTP is for connections that carry requests.
	HTTP l7.Limits
	// TCPIdleTimeout ends a TCP connection on which nothing moved for so long; 0:
	// never, because databases keep theirs for days, and dead peers are found by
	// keepalive.
	TCPIdleTimeout time.Duration
}

// Config is what a Server needs. Group, Origins, Dialer and Telemetry are
// required; Telemetry has a recorder for each of the group's loops.
type Config struct {
	Group     *reactor.Group
	Origins   OriginFinder
	Dialer    Dialer
	Telemetry *telemetry.Registry
	Limits    Limits
	Pool      upstream.PoolConfig
	// Logger gets changes of endpoints' health at info, of one that changes all the
	// time not each; nil: none.
	Logger *slog.Logger
}

// Server is the data path of a node. It serves from the first Publish on;
// before, origins are unknown.
type Server struct {
	// set at construction
	config   Config
	registry *upstream.Registry
	workers  []*worker
	metrics  liveMetrics
	health   *healthLog
	tables   atomic.Pointer[l7.Tables]
	sources  atomic.Pointer[map[string]bool] // labels of workloads; written under mu

	// publishing orders Publish
	publishing sync.Mutex

	// guarded by mu
	mu        sync.Mutex
	workloads map[uint32]*workload
}

// workload is a Workload that is served.
type workload struct {
	Workload
	source    telemetry.Source
	listeners []listening
	cut       atomic.Int64 // when what is left of it is cut, on the loops' clock; 0: it is not forgotten
}

// listening is one listener and the loop that it is on.
type listening struct {
	worker   *worker
	listener *reactor.Listener
}

// New makes a server on the loops of a group. The group may run already.
func New(c Config) (*Server, error) {
	if c.Group == nil || c.Origins == nil || c.Dialer == nil || c.Telemetry == nil {
		return nil, errors.New("make a proxy: Group, Origins, Dialer and Telemetry are required")
	}
	if c.Telemetry.Len() < c.Group.Len() {
		return nil, fmt.Errorf("make a proxy: %d recorders for %d loops", c.Telemetry.Len(), c.Group.Len())
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{config: c, workloads: map[uint32]*workload{}, metrics: newLiveMetrics(), health: newHealthLog(c.Logger)}
	s.registry = upstream.NewRegistry(upstream.Config{
		Loops: c.Group.Len(), Dialer: c.Dialer, Pool: c.Pool, Changed: s.health.changed,
	})
	s.listSources()
	empty := &table.Snapshot{}
	s.tables.Store(&l7.Tables{Snapshot: empty, View: s.registry.Apply(empty)})
	for i := range c.Group.Len() {
		s.workers = append(s.workers, newWorker(s, c.Group.Loop(i), c.Telemetry.Recorder(i)))
	}
	return s, nil
}

// Run logs what happens to endpoints, and what loops have to say, until ctx is
// done. It is called once.
func (s *Server) Run(ctx context.Context) error {
	var lines sync.WaitGroup
	lines.Go(func() { _ = s.config.Telemetry.Run(ctx) }) // it ends in no other way
	lines.Go(s.health.run)
	defer lines.Wait()
	defer close(s.health.changes) // by then nobody sends
	return s.registry.Run(ctx)
}

// Publish makes snapshot the one that requests and connections from now on are
// decided by. Any goroutine; calls are taken one after the other.
func (s *Server) Publish(snapshot *table.Snapshot) {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	s.tables.Store(&l7.Tables{Snapshot: snapshot, View: s.registry.Apply(snapshot)})
	for _, w := range s.workers {
		w.loop.Post(w.scheduleRefresh)
	}
}

// Snapshot is the one that was published last.
func (s *Server) Snapshot() *table.Snapshot { return s.tables.Load().Snapshot }

// Serve accepts a workload's connections from listening, non-blocking sockets,
// which the server owns from now on (closed on error). A workload that is served
// already gets further listeners.
func (s *Server) Serve(w Workload, listenerFDs ...int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.workloads[w.ID]
	if known == nil {
		known = &workload{Workload: w, source: telemetry.Source{ID: w.ID, Label: w.Namespace + "/" + w.Name}}
		s.workloads[w.ID] = known
		s.listSources()
	}
	for i, fd := range listenerFDs {
		at, err := s.listen(known, fd)
		if err != nil {
			for _, fd := range listenerFDs[i+1:] {
				_ = unix.Close(fd)
			}
			return fmt.Errorf("serve workload %s: %w", known.source.Label, err)
		}
		known.listeners = append(known.listeners, at)
	}
	return nil
}

// listSources publishes the labels of all workloads to the loops, which must not
// wait for mu: Serve holds it while it waits for a loop.
func (s *Server) listSources() {
	labels := make(map[string]bool, len(s.workloads)+1)
	labels[""] = true // series that have no source
	for _, w := range s.workloads {
		labels[w.source.Label] = true
	}
	s.sources.Store(&labels)
}

// listen puts a listener on the loop that has the least to do.
func (s *Server) listen(w *workload, fd int) (listening, error) {
	worker := s.leastBusy()
	var l *reactor.Listener
	var err error
	done := make(chan struct{})
	posted := worker.loop.Post(func() {
		defer close(done)
		l, err = worker.loop.Listen(fd, func(fd int, peer netip.AddrPort) { s.accepted(w, fd, peer) })
	})
	if !posted {
		_ = unix.Close(fd)
		return listening{}, errors.New("listen: the loop has ended")
	}
	<-done
	return listening{worker, l}, err
}

// accepted gives a connection to the loop that has the fewest. On a loop.
func (s *Server) accepted(w *workload, fd int, peer netip.AddrPort) {
	worker := s.leastBusy()
	worker.assigned.Add(1)
	if !worker.loop.Post(func() { worker.adopt(w, fd, peer) }) {
		worker.assigned.Add(-1)
		_ = unix.Close(fd)
	}
}

func (s *Server) leastBusy() *worker {
	best := s.workers[0]
	for _, w := range s.workers[1:] {
		if w.assigned.Load() < best.assigned.Load() {
			best = w
		}
	}
	return best
}

// drainGrace is how long a drain waits before it touches what is idle. A client
// that is only between two requests gets an answer, which tells it to go; closed
// at once, its next request would meet the close. And what was redirected here a
// moment ago is in a listener's queue, and would be reset with it.
const drainGrace = 500 * time.Millisecond

// Forget ends a workload: each next response says so (Connection: close), and
// after a grace its listeners and idle connections close. What is left after
// drain is cut. It does not wait for them.
func (s *Server) Forget(id uint32, drain time.Duration) {
	s.mu.Lock()
	gone := s.workloads[id]
	delete(s.workloads, id)
	s.listSources()
	s.mu.Unlock()
	if gone == nil {
		return
	}
	gone.cut.Store(s.workers[0].loop.Clock() + int64(drain))
	for _, l := range gone.listeners {
		closing := &reactor.Timer{F: func() { _ = l.listener.Close() }}
		l.worker.loop.Post(func() { l.worker.loop.After(closing, min(drainGrace, drain)) })
	}
	for _, w := range s.workers {
		w.loop.Post(func() { w.forget(gone) })
	}
	s.registry.Forget(id)
}

// drainSpread is over how long a drain closes idle connections, so that not all
// clients come back at once.
const drainSpread = 2 * time.Second

// Drain asks all clients to go: each next response says so (Connection: close)
// and idle connections are closed after a grace, spread over two seconds. It
// returns when no connection is left, or with the context's error. New connections are still
// served, one request each.
func (s *Server) Drain(ctx context.Context) error {
	for _, w := range s.workers {
		w.loop.Post(w.drainAll)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.Connections() == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain: %d connections are left: %w", s.Connections(), ctx.Err())
		case <-tick.C:
		}
	}
}

// Connections is how many connections of clients are open.
func (s *Server) Connections() int {
	n := int64(0)
	for _, w := range s.workers {
		n += w.assigned.Load()
	}
	return int(n)
}
