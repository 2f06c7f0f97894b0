package serve

import (
	"context"
	"errors"
	"sync"

	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// caches gives every watch the cache of its type, and of its node where each node
// has its own.
type caches struct {
	// set at construction
	byType map[string]*cache.LinearCache

	mu     sync.Mutex
	byNode map[string]*cache.LinearCache // guarded by mu
}

func newCaches() *caches {
	out := &caches{byType: map[string]*cache.LinearCache{}, byNode: map[string]*cache.LinearCache{}}
	for _, t := range []string{resource.EndpointType, resource.ClusterType, resource.RouteType, resource.ListenerType} {
		out.byType[t] = cache.NewLinearCache(t)
	}
	return out
}

// workloads calls f with the cache of a node's workloads, made when it is first
// asked for. The lock is held, so that forget cannot drop it meanwhile; nothing in
// a cache waits.
func (c *caches) workloads(node string, f func(*cache.LinearCache)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.byNode[node]
	if own == nil {
		own = cache.NewLinearCache(workloadType)
		c.byNode[node] = own
	}
	f(own)
}

// CreateDeltaWatch implements cache.ConfigWatcher. A type that we do not have is
// never answered, rather than the stream closed: an Envoy may ask for secrets too.
func (c *caches) CreateDeltaWatch(r *cache.DeltaRequest, sub cache.Subscription, out chan cache.DeltaResponse) (cancel func(), err error) {
	if r.GetTypeUrl() == workloadType {
		c.workloads(r.GetNode().GetId(), func(own *cache.LinearCache) {
			cancel, err = own.CreateDeltaWatch(r, sub, out)
		})
		return cancel, err
	}
	if of := c.byType[r.GetTypeUrl()]; of != nil {
		return of.CreateDeltaWatch(r, sub, out)
	}
	return func() {}, nil
}

var errDeltaOnly = errors.New("only delta ADS is served")

// CreateWatch implements cache.ConfigWatcher.
func (c *caches) CreateWatch(*cache.Request, cache.Subscription, chan cache.Response) (func(), error) {
	return nil, errDeltaOnly
}

// Fetch implements cache.ConfigFetcher.
func (c *caches) Fetch(context.Context, *cache.Request) (cache.Response, error) {
	return nil, errDeltaOnly
}

// forget drops a node's cache when it holds nothing and nobody watches: node names
// come from the network, and must not fill the memory.
func (c *caches) forget(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if own := c.byNode[node]; own != nil && own.NumResources() == 0 && own.NumCacheWatches() == 0 {
		delete(c.byNode, node)
	}
}
