package xds

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// live is a choice of versions that is closed over references. It is not
// changed once it is made.
type live struct {
	services  map[string]liveService
	backends  map[string]liveBackend
	workloads map[string]*resource
}

// liveService is a Listener with the RouteConfiguration it names, if any.
type liveService struct{ listener, routes *resource }

// liveBackend is a Cluster with its ClusterLoadAssignment.
type liveBackend struct{ cluster, endpoints *resource }

func newLive() *live {
	return &live{services: map[string]liveService{}, backends: map[string]liveBackend{}, workloads: map[string]*resource{}}
}

// clusters lists every backend that the service names.
func (s liveService) clusters() []string {
	names := s.listener.value.(*listener).clusters()
	if s.routes != nil {
		names = append(names, s.routes.value.(*routeTable).clusters...)
	}
	return names
}

func (s liveService) origins() []netip.AddrPort { return s.listener.value.(*listener).service.Origins }

// ref names a resource that another one waits for. A wildcard kind that was not
// answered yet is waited for under the name "".
type ref struct {
	kind kind
	name string
}

// chooser makes the next live choice from the accepted resources.
type chooser struct {
	// given
	accepted *set
	before   *live
	givenUp  func(ref) bool

	// made
	next *live
	// missing is what keeps newer versions from going live, and who waits.
	missing map[ref]string
	// conflicts are services whose newer version cannot go live beside another.
	conflicts map[string]string
}

// choose runs the steps in the order of the references: endpoints, clusters,
// routes, listeners.
func choose(accepted *set, before *live, givenUp func(ref) bool) *chooser {
	c := &chooser{accepted: accepted, before: before, givenUp: givenUp, next: newLive(),
		missing: map[ref]string{}, conflicts: map[string]string{}}
	c.chooseBackends()
	c.chooseServices()
	c.settleOrigins()
	c.keepNamed()
	maps.Copy(c.next.workloads, accepted[workloads])
	return c
}

func (c *chooser) chooseBackends() {
	for name, r := range c.accepted[clusters] {
		need := r.value.(*cluster).assignment
		if e := c.accepted[endpoints][need]; e != nil {
			c.next.backends[name] = liveBackend{cluster: r, endpoints: e}
			continue
		}
		c.missing[ref{endpoints, need}] = "cluster " + name
		if old, ok := c.before.backends[name]; ok {
			c.next.backends[name] = old
		}
	}
}

func (c *chooser) chooseServices() {
	for name, r := range c.accepted[listeners] {
		s := liveService{listener: r}
		closed := true
		if need := r.value.(*listener).routes; need != "" {
			if s.routes = c.accepted[routes][need]; s.routes == nil {
				c.missing[ref{routes, need}] = "listener " + name
				closed = false
			}
		}
		if closed && c.closed(name, s) {
			c.next.services[name] = s
		} else if old, ok := c.before.services[name]; ok {
			c.next.services[name] = old
		}
	}
}

// closed reports whether every cluster that s names is there. Rules may go on
// without one that was waited for in vain (their share is a 500, as the cluster
// is missing); a service without its own backend may not.
func (c *chooser) closed(name string, s liveService) bool {
	ok := true
	own := s.listener.value.(*listener).service.Backend
	for _, need := range s.clusters() {
		_, now := c.next.backends[need]
		_, then := c.before.backends[need]
		if now || then {
			continue
		}
		c.missing[ref{clusters, need}] = "listener " + name
		if need == own || !c.givenUp(ref{clusters, need}) {
			ok = false
		}
	}
	return ok
}

// settleOrigins keeps an origin with the service that has it already; among
// newcomers the first by name gets it. The loser keeps its older version if
// that does not collide too.
func (c *chooser) settleOrigins() {
	owner := map[netip.AddrPort]string{}
	for name, s := range c.next.services {
		old, ok := c.before.services[name]
		if !ok {
			continue
		}
		for _, o := range s.origins() {
			if slices.Contains(old.origins(), o) {
				owner[o] = name
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.next.services)) {
		versions := []liveService{c.next.services[name]}
		if old, ok := c.before.services[name]; ok {
			versions = append(versions, old)
		}
		delete(c.next.services, name)
		for _, s := range versions {
			other, origin := claim(owner, name, s)
			if other == "" {
				c.next.services[name] = s
				break
			}
			c.conflicts[name] = fmt.Sprintf("address: origin %v belongs to %s already", origin, other)
		}
	}
}

// claim takes the origins of s, or none of them and says who has one.
func claim(owner map[netip.AddrPort]string, name string, s liveService) (other string, origin netip.AddrPort) {
	for _, o := range s.origins() {
		if has, taken := owner[o]; taken && has != name {
			return has, o
		}
	}
	for _, o := range s.origins() {
		owner[o] = name
	}
	return "", netip.AddrPort{}
}

// keepNamed keeps removed clusters that a live service still names.
func (c *chooser) keepNamed() {
	for _, s := range c.next.services {
		for _, name := range s.clusters() {
			if _, ok := c.next.backends[name]; ok {
				continue
			}
			if old, ok := c.before.backends[name]; ok {
				c.next.backends[name] = old
			}
		}
	}
}

// replacements are the new versions of endpoints by their old ones, where that is
// all that changed: what comes and goes most, and names nothing. Nil: there is more
// to it.
func replacements(accepted *set, touched []change) map[*resource]*resource {
	var out map[*resource]*resource
	for _, t := range touched {
		now := accepted[t.kind][t.name]
		if t.kind != endpoints || t.before == nil || now == nil {
			return nil
		}
		if out == nil {
			out = make(map[*resource]*resource, len(touched))
		}
		out[t.before] = now
	}
	return out
}

// replace is l with other versions of endpoints, and in likewise, which was made
// of l.
func (l *live) replace(replaced map[*resource]*resource, in table.Input) (*live, table.Input) {
	next := &live{services: l.services, backends: maps.Clone(l.backends), workloads: l.workloads}
	in.Backends = slices.Clone(in.Backends)
	for i := range in.Backends {
		name := in.Backends[i].Name
		b := next.backends[name]
		if now := replaced[b.endpoints]; now != nil {
			b.endpoints = now
			next.backends[name] = b
			in.Backends[i].Endpoints = now.value.(*assignment).endpoints
		}
	}
	return next, in
}

// wanted lists the names to be subscribed to of a kind that is asked for by name.
func (l *live) wanted(accepted *set, k kind) map[string]bool {
	names := map[string]bool{}
	switch k {
	case endpoints:
		for _, r := range accepted[clusters] {
			names[r.value.(*cluster).assignment] = true
		}
		for _, b := range l.backends {
			names[b.cluster.value.(*cluster).assignment] = true
		}
	case routes:
		for _, r := range accepted[listeners] {
			names[r.value.(*listener).routes] = true
		}
		for _, s := range l.services {
			names[s.listener.value.(*listener).routes] = true
		}
		delete(names, "")
	}
	return names
}

// resources lists what l is made of, in no order; a resource that two backends
// share is there twice.
func (l *live) resources() []*resource {
	out := make([]*resource, 0, 2*(len(l.services)+len(l.backends))+len(l.workloads))
	for _, s := range l.services {
		out = append(out, s.listener)
		if s.routes != nil {
			out = append(out, s.routes)
		}
	}
	for _, b := range l.backends {
		out = append(out, b.cluster, b.endpoints)
	}
	for _, w := range l.workloads {
		out = append(out, w)
	}
	return out
}

// version is of the content: the same resources have the same version, on every
// node and after every restart. A sum does not depend on the order, so that
// thousands of resources need not be sorted for every change.
func version(resources []*resource) string {
	var sum uint64
	for _, r := range resources {
		sum += r.digest
	}
	return fmt.Sprintf("%016x", sum)
}

// input is l as table reads it.
func (l *live) input(version string) table.Input {
	in := table.Input{Version: version}
	for _, name := range slices.Sorted(maps.Keys(l.services)) {
		s := l.services[name]
		decoded := s.listener.value.(*listener)
		service := decoded.service
		switch {
		case s.routes != nil:
			service.Rules = s.routes.value.(*routeTable).rules
		case decoded.inline != nil:
			service.Rules = decoded.inline.rules
		}
		in.Services = append(in.Services, service)
	}
	for _, name := range slices.Sorted(maps.Keys(l.backends)) {
		b := l.backends[name]
		backend := b.cluster.value.(*cluster).backend
		backend.Endpoints = b.endpoints.value.(*assignment).endpoints
		in.Backends = append(in.Backends, backend)
	}
	return in
}

// list returns the workloads sorted by UID.
func (l *live) list() []Workload {
	out := make([]Workload, 0, len(l.workloads))
	for _, uid := range slices.Sorted(maps.Keys(l.workloads)) {
		out = append(out, *l.workloads[uid].value.(*Workload))
	}
	return out
}
