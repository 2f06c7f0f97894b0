package xds

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	culvertv1 "github.com/culvert-mesh/culvert/api/v1"
	"github.com/culvert-mesh/culvert/proxy/table"
)

// decode reads one resource of a response. The error names the field.
func decode(k kind, r *discoveryv3.Resource) (*resource, error) {
	if err := only(r, "name", "version", "resource"); err != nil {
		return nil, err
	}
	out := &resource{kind: k, name: r.GetName(), version: r.GetVersion(), body: r.GetResource()}
	var name string
	var err error
	switch k {
	case clusters:
		m := &clusterv3.Cluster{}
		out.value, name, err = read(r, m, decodeCluster, m.GetName)
	case endpoints:
		m := &endpointv3.ClusterLoadAssignment{}
		out.value, name, err = read(r, m, decodeAssignment, m.GetClusterName)
	case listeners:
		m := &listenerv3.Listener{}
		out.value, name, err = read(r, m, decodeListener, m.GetName)
	case routes:
		m := &routev3.RouteConfiguration{}
		out.value, name, err = read(r, m, decodeRoutes, m.GetName)
	case workloads:
		m := &culvertv1.Workload{}
		out.value, name, err = read(r, m, decodeWorkload, m.GetUid)
	}
	if err != nil {
		return nil, err
	}
	if name == "" || name != out.name {
		return nil, refuse("name", "%q is not the resource's name %q", name, out.name)
	}
	out.digest = digest(out)
	return out, try(out)
}

// digest is of the content and not of the version that the control plane gives,
// which may be empty or start again from 1. It need not resist an adversary.
func digest(r *resource) uint64 {
	h := fnv.New64a()
	h.Write([]byte{byte(r.kind)})
	h.Write([]byte(r.name))
	h.Write([]byte{0})
	h.Write(r.body.GetValue())
	return h.Sum64()
}

// read unpacks a resource and decodes it.
func read[M proto.Message, V any](r *discoveryv3.Resource, m M, to func(M) (V, error), name func() string) (any, string, error) {
	if err := unpack(r.GetResource(), m); err != nil {
		return nil, "", err
	}
	v, err := to(m)
	if err != nil {
		return nil, "", err
	}
	return v, name(), nil
}

// try builds a table of this one resource, with stand-ins for what it refers
// to, so that whatever table refuses is refused while the resource is at hand.
func try(r *resource) error {
	const stand = "stand-in"
	in := table.Input{Backends: []table.BackendInput{{Name: stand}}}
	service := table.ServiceInput{Name: r.name, Backend: stand,
		Origins: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:80")}}
	switch v := r.value.(type) {
	case *listener:
		service = v.service
		if service.Backend != "" {
			service.Backend = stand
		}
		if v.routes != "" {
			service.Rules = []table.RuleInput{}
		} else if v.inline != nil {
			service.Rules = v.inline.rules
		}
	case *routeTable:
		service.Rules = v.rules
	case *cluster:
		in.Backends = append(in.Backends, v.backend)
	case *assignment:
		in.Backends = append(in.Backends, table.BackendInput{Name: r.name, Endpoints: v.endpoints})
	default:
		return nil
	}
	in.Services = append(in.Services, service)
	_, err := build(in)
	return asFault(err)
}

// build is table.Build behind a recover: an input that it was not made for must
// end in a NACK, not in a node that dies, restarts and gets it again.
func build(in table.Input) (s *table.Snapshot, err error) {
	defer func() {
		if v := recover(); v != nil {
			s, err = nil, fmt.Errorf("build the table: panic: %v", v)
		}
	}()
	return table.Build(in)
}

// asFault makes the first fault of a build into one of the resource.
func asFault(err error) error {
	if err == nil {
		return nil
	}
	if faults := table.Faults(err); len(faults) > 0 {
		return &fault{field: faults[0].Field, reason: faults[0].Reason}
	}
	var f *table.FieldError
	if errors.As(err, &f) {
		return &fault{field: f.Field, reason: f.Reason}
	}
	return &fault{reason: err.Error()}
}
