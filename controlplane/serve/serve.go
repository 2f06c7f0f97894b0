// Package serve owns the stream to the nodes: it holds the xDS resources of the
// moment and serves them by delta ADS over gRPC (go-control-plane). It must not
// know the model, nor what a resource says. Update is for one goroutine at a time;
// Serve blocks; the rest is for any goroutine.
//
// A resource's version is a hash of its bytes, so a node that comes back with what
// it has (initial_resource_versions) is sent nothing that it has already, whichever
// replica or process it meets. Every resource is serialised once for all nodes.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"time"

	culvertv1 "github.com/culvert-mesh/culvert/api/v1"
	"github.com/culvert-mesh/culvert/controlplane/translate"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"
)

const (
	// maxRequest bounds one request, bytes: the first one of a stream tells the
	// versions of everything that the node has.
	maxRequest = 64 << 20
	// pingAfter and pingWait find a node that is gone without a word.
	pingAfter = 30 * time.Second
	pingWait  = 10 * time.Second
	// minPing is how often a node may ping us.
	minPing = 5 * time.Second
)

// Server serves resources to nodes.
type Server struct {
	log    *slog.Logger
	caches *caches
	nodes  *nodes

	// owned by Update
	last *translate.Resources
}

// New returns a server that has no resources yet.
func New(log *slog.Logger) *Server {
	return &Server{log: log, caches: newCaches(), nodes: newNodes(log), last: &translate.Resources{}}
}

// Changes counts what an Update changed.
type Changes struct{ Changed, Removed int }

// Update makes next what is served. Only what differs from the last is sent; a
// message that is the same one as in the last is not looked into.
//
// What is referred to is set first (endpoints, clusters, routes, listeners) and
// removed last, so that on a stream that keeps up no reference ever dangles. A
// stream that lags gets types in another order; a node must hold back a resource
// until what it refers to is there.
func (s *Server) Update(next *translate.Resources) Changes {
	var c Changes
	last := s.last
	steps := []struct {
		typeURL    string
		last, next map[string]proto.Message
	}{
		{resource.EndpointType, last.Endpoints, next.Endpoints},
		{resource.ClusterType, last.Clusters, next.Clusters},
		{resource.RouteType, last.Routes, next.Routes},
		{resource.ListenerType, last.Listeners, next.Listeners},
	}
	for _, step := range steps {
		c.Changed += set(s.caches.byType[step.typeURL], step.last, step.next)
	}
	for node := range union(last.Workloads, next.Workloads) {
		s.caches.workloads(node, func(own *cache.LinearCache) {
			c.Changed += set(own, last.Workloads[node], next.Workloads[node])
			c.Removed += remove(own, last.Workloads[node], next.Workloads[node])
		})
	}
	for i := len(steps) - 1; i >= 0; i-- {
		step := steps[i]
		c.Removed += remove(s.caches.byType[step.typeURL], step.last, step.next)
	}
	s.last = next
	return c
}

// set puts what is new or changed in a cache, and says how much that was.
func set(c *cache.LinearCache, last, next map[string]proto.Message) int {
	changed := map[string]types.Resource{}
	for name, m := range next {
		if was, ok := last[name]; !ok || was != m && !proto.Equal(was, m) {
			changed[name] = m
		}
	}
	if len(changed) > 0 {
		// The only error is a message that cannot be serialised; translate makes
		// none, and the cache has taken over the others.
		_ = c.UpdateResources(changed, nil)
	}
	return len(changed)
}

// remove takes what is gone out of a cache, and says how much that was.
func remove(c *cache.LinearCache, last, next map[string]proto.Message) int {
	var gone []string
	for name := range last {
		if _, ok := next[name]; !ok {
			gone = append(gone, name)
		}
	}
	if len(gone) > 0 {
		_ = c.UpdateResources(nil, gone)
	}
	return len(gone)
}

func union[V any](a, b map[string]V) map[string]V {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]V{}
	}
	maps.Copy(out, b)
	return out
}

// Serve answers nodes on a listener, which it closes, until ctx ends.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingWait}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
	)
	handler := xds.NewServer(ctx, s.caches, &callbacks{nodes: s.nodes, caches: s.caches})
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, handler)

	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		server.Stop()
	}()
	err := server.Serve(listener)
	cancel()
	<-stopped
	if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve xds: %w", err)
	}
	return nil
}

// Nodes tells the nodes that are connected, sorted by name.
func (s *Server) Nodes() []Node { return s.nodes.list() }

// Totals tells what was counted since the start.
func (s *Server) Totals() Totals { return s.nodes.counted() }

// workloadType is the type of the resources that are a node's own.
const workloadType = culvertv1.WorkloadType
