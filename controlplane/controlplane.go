// Package controlplane joins the source of policy to the server of nodes: files >
// objects > model > xDS resources > delta ADS. It must not know the node side: the
// two meet on the wire, in one process over an in-memory listener. Run is the
// process's control plane; Status may be read from any goroutine while it runs.
package controlplane

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/culvert-mesh/culvert/controlplane/file"
	"github.com/culvert-mesh/culvert/controlplane/model"
	"github.com/culvert-mesh/culvert/controlplane/objects"
	"github.com/culvert-mesh/culvert/controlplane/serve"
	"github.com/culvert-mesh/culvert/controlplane/translate"
)

// Problem is one thing that is wrong with the policy; String is its one line.
type Problem = model.Problem

// Config is what a control plane is started with.
type Config struct {
	// PolicyDir is the directory of Kubernetes objects.
	PolicyDir string
	// Listener is where nodes connect; Run closes it.
	Listener net.Listener
	// Log may be nil: nothing is logged.
	Log *slog.Logger
	// Status, where it is not nil, is kept up to date.
	Status *Status
}

// Run serves the policy of a directory until ctx ends. It returns an error only
// where it cannot watch or serve; bad policy is a problem, told by Status and the
// log, and never stops it.
func Run(ctx context.Context, c Config) error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Status == nil {
		c.Status = &Status{}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	server := serve.New(c.Log)
	c.Status.serve(server)
	ready := make(chan struct{})
	watched := make(chan error, 1)
	go func() {
		defer cancel()
		watched <- file.New(c.PolicyDir, c.Log).Run(ctx, c.applyTo(server, sync.OnceFunc(func() { close(ready) })))
	}()
	// Nodes are answered once there is something to say: a node that comes first,
	// or with a configuration that it has saved, would else be told that nothing
	// exists.
	select {
	case <-ready:
	case <-ctx.Done():
	}
	served := server.Serve(ctx, c.Listener)
	cancel()
	if err := <-watched; err != nil {
		return err
	}
	return served
}

// applyTo returns what makes a set of objects what a server serves, and tells of
// it; ready is called when there is something to serve.
func (c Config) applyTo(server *serve.Server, ready func()) func(*objects.Set, []model.Problem) {
	translator := &translate.Translator{}
	var last *model.Model
	return func(set *objects.Set, problems []model.Problem) {
		if set == nil {
			c.Status.update(c.Log, problems)
			return
		}
		m, more := set.Model(last)
		last = m
		problems = model.SortProblems(slices.Concat(problems, more))
		changes := server.Update(translator.Next(m))
		generation := c.Status.update(c.Log, problems)
		if changes != (serve.Changes{}) {
			c.Log.Info("policy applied", "generation", generation, "services", len(m.Services), "workloads", len(m.Workloads),
				"changed", changes.Changed, "removed", changes.Removed, "problems", len(problems))
		}
		ready()
	}
}

// Check reads a directory once and returns what is wrong with it, sorted. The
// error says that the directory itself cannot be read.
func Check(dir string) ([]Problem, error) {
	set, problems, err := file.Read(dir)
	if err != nil {
		return nil, err
	}
	_, more := set.Model(nil)
	return model.SortProblems(slices.Concat(problems, more)), nil
}

// Status is what a running control plane tells of itself. The zero value is ready.
type Status struct {
	mu sync.Mutex
	// guarded by mu
	server     *serve.Server
	problems   []Problem
	generation uint64
	applied    time.Time
}

// Problems are those of the moment, sorted; the slice is the caller's.
func (s *Status) Problems() []Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.problems)
}

// Applied says how often policy was read and taken over, and when last; 0: never.
func (s *Status) Applied() (generation uint64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation, s.applied
}

// Nodes are the nodes that are connected, sorted by name.
func (s *Status) Nodes() []serve.Node {
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	if server == nil {
		return nil
	}
	return server.Nodes()
}

// Totals are the counters of the streams since the start.
func (s *Status) Totals() serve.Totals {
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	if server == nil {
		return serve.Totals{}
	}
	return server.Totals()
}

func (s *Status) serve(server *serve.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = server
}

// update takes in the problems, logs those that are new, and counts.
func (s *Status) update(log *slog.Logger, problems []Problem) uint64 {
	known := map[Problem]bool{}
	for _, p := range s.Problems() {
		known[p.Elsewhere()] = true
	}
	for _, p := range problems {
		if !known[p.Elsewhere()] {
			log.Warn("policy problem", "problem", p.Long())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = problems
	s.generation++
	s.applied = time.Now()
	return s.generation
}
