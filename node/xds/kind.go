package xds

import (
	"google.golang.org/protobuf/types/known/anypb"
)

// kind is one type of resource.
type kind uint8

// In the order in which a stream asks for them: make before break, clusters
// before what names them (Envoy's xDS documentation, "Eventual consistency
// considerations").
const (
	clusters kind = iota
	endpoints
	listeners
	routes
	workloads
	kinds
)

// kindNames are the values of the metric label type and of /debug.
var kindNames = [kinds]string{"cluster", "endpoints", "listener", "route", "workload"}

// typeURLs are the names on the wire.
var typeURLs = [kinds]string{
	"type.googleapis.com/envoy.config.cluster.v3.Cluster",
	"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
	"type.googleapis.com/envoy.config.listener.v3.Listener",
	"type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
	"type.googleapis.com/culvert.v1.Workload",
}

func (k kind) String() string { return kindNames[k] }

// wildcard kinds are asked for whole; the others by name.
func (k kind) wildcard() bool { return k == clusters || k == listeners || k == workloads }

// kindOf finds the kind of a type URL.
func kindOf(typeURL string) (kind, bool) {
	for k, url := range typeURLs {
		if url == typeURL {
			return kind(k), true
		}
	}
	return 0, false
}

// resource is one accepted resource: immutable.
type resource struct {
	kind    kind
	name    string
	version string
	// body is what came, for the state file; digest is of it and of the name.
	body   *anypb.Any
	digest uint64
	// value is what it was decoded to: *listener, *routeTable, *cluster,
	// *assignment or *Workload.
	value any
}

// set holds the newest accepted version of every resource by kind and name.
type set [kinds]map[string]*resource

func newSet() set {
	var s set
	for k := range s {
		s[k] = map[string]*resource{}
	}
	return s
}

// put replaces a resource and returns what was there before, or nil.
func (s *set) put(r *resource) *resource {
	before := s[r.kind][r.name]
	s[r.kind][r.name] = r
	return before
}

// restore undoes a put or a removal.
func (s *set) restore(k kind, name string, before *resource) {
	if before == nil {
		delete(s[k], name)
		return
	}
	s[k][name] = before
}

// versions is what the control plane is told at the start of a stream
// (initial_resource_versions), so that it sends only what changed.
func (s *set) versions(k kind) map[string]string {
	out := make(map[string]string, len(s[k]))
	for name, r := range s[k] {
		out[name] = r.version
	}
	return out
}
