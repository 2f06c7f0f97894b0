package translate

import (
	"net/netip"

	culvertv1 "github.com/culvert-mesh/culvert/api/v1"
	"github.com/culvert-mesh/culvert/controlplane/model"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Names that both sides of the wire agree on.
const (
	// MetadataKey is where our words stand in filter_metadata.
	MetadataKey = "culvert.dev"
	// InvalidBackend is the cluster of shares that lead nowhere; never sent.
	InvalidBackend = "invalid-backend"
)

// Resources are the xDS resources of one model, by name.
type Resources struct {
	Endpoints map[string]proto.Message
	Clusters  map[string]proto.Message
	Routes    map[string]proto.Message
	Listeners map[string]proto.Message
	// Workloads are those of each node, by the node's name.
	Workloads map[string]map[string]proto.Message
}

// Translator translates the models of one source, one after the other, so that a
// change costs what changed: where a service or a workload is as it was in the last
// model, the very same messages are handed out again, and whoever compares sees
// that by their addresses. The zero value is ready. One goroutine at a time.
type Translator struct {
	services  map[model.Name]*model.Service
	workloads map[workloadID]*model.Workload
	last      *Resources
}

// workloadID is a workload's place in Resources.
type workloadID struct{ node, uid string }

// Model makes the resources of one model.
func Model(m *model.Model) *Resources { return (&Translator{}).Next(m) }

// Next makes the resources of the next model. The caller may keep them, and must
// not change them nor the model.
func (t *Translator) Next(m *model.Model) *Resources {
	next := Translator{
		services:  make(map[model.Name]*model.Service, len(m.Services)),
		workloads: make(map[workloadID]*model.Workload, len(m.Workloads)),
		last: &Resources{
			Endpoints: map[string]proto.Message{},
			Clusters:  map[string]proto.Message{},
			Routes:    map[string]proto.Message{},
			Listeners: map[string]proto.Message{},
			Workloads: map[string]map[string]proto.Message{},
		},
	}
	for _, s := range m.Services {
		next.services[s.Name] = s
		if was := t.services[s.Name]; was != nil && was.Equal(s) {
			next.last.keep(t.last, s)
		} else {
			next.last.add(s)
		}
	}
	for i := range m.Workloads {
		w := &m.Workloads[i]
		id := workloadID{w.Node, w.UID}
		next.workloads[id] = w
		if next.last.Workloads[w.Node] == nil {
			next.last.Workloads[w.Node] = map[string]proto.Message{}
		}
		if was := t.workloads[id]; was != nil && was.Equal(w) {
			next.last.Workloads[w.Node][w.UID] = t.last.Workloads[w.Node][w.UID]
		} else {
			next.last.Workloads[w.Node][w.UID] = workload(w)
		}
	}
	*t = next
	return t.last
}

// add puts the resources of a service.
func (r *Resources) add(s *model.Service) {
	for _, p := range s.Ports {
		id := p.ID()
		r.Endpoints[id] = assignment(p)
		r.Clusters[id] = cluster(s, p)
		if s.Headless() {
			continue
		}
		r.Listeners[id] = listener(s, p)
		if p.Routed && p.Protocol != model.Opaque {
			r.Routes[id] = routeConfiguration(p)
		}
	}
}

// keep takes over the resources that a service had.
func (r *Resources) keep(last *Resources, s *model.Service) {
	for _, p := range s.Ports {
		id := p.ID()
		for _, of := range []struct{ from, to map[string]proto.Message }{
			{last.Endpoints, r.Endpoints}, {last.Clusters, r.Clusters},
			{last.Listeners, r.Listeners}, {last.Routes, r.Routes},
		} {
			if m, ok := of.from[id]; ok {
				of.to[id] = m
			}
		}
	}
}

func workload(w *model.Workload) *culvertv1.Workload {
	out := &culvertv1.Workload{
		Uid:            w.UID,
		Namespace:      w.Name.Namespace,
		Name:           w.Name.Name,
		Netns:          w.Netns,
		ServiceAccount: w.ServiceAccount,
		Labels:         w.Labels,
	}
	for _, a := range w.Addresses {
		out.Addresses = append(out.Addresses, a.String())
	}
	return out
}

// metadata puts words under our key.
func metadata(words map[string]string) *corev3.Metadata {
	fields := make(map[string]*structpb.Value, len(words))
	for k, v := range words {
		fields[k] = structpb.NewStringValue(v)
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{MetadataKey: {Fields: fields}}}
}

func address(addr netip.Addr, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Protocol:      corev3.SocketAddress_TCP,
		Address:       addr.String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

// ads is the configuration source of what comes over the same stream.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

// pack puts a message in an Any, in deterministic bytes: the version on the wire
// is a hash of them. Marshalling fails for text that is not UTF-8 only, which
// neither YAML nor JSON lets in; the Any is then empty, and a node refuses it.
func pack(m proto.Message) *anypb.Any {
	out := &anypb.Any{}
	if err := anypb.MarshalFrom(out, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return &anypb.Any{}
	}
	return out
}
