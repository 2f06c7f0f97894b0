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

// Model makes the resources of a model. The messages are new; the caller may keep
// them, and must not change them once they were served.
func Model(m *model.Model) *Resources {
	out := &Resources{
		Endpoints: map[string]proto.Message{},
		Clusters:  map[string]proto.Message{},
		Routes:    map[string]proto.Message{},
		Listeners: map[string]proto.Message{},
		Workloads: map[string]map[string]proto.Message{},
	}
	for _, s := range m.Services {
		for _, p := range s.Ports {
			id := p.ID()
			out.Endpoints[id] = assignment(p)
			out.Clusters[id] = cluster(s, p)
			if s.Headless() {
				continue
			}
			out.Listeners[id] = listener(s, p)
			if p.Routed && p.Protocol != model.Opaque {
				out.Routes[id] = routeConfiguration(p)
			}
		}
	}
	for i := range m.Workloads {
		w := &m.Workloads[i]
		if out.Workloads[w.Node] == nil {
			out.Workloads[w.Node] = map[string]proto.Message{}
		}
		out.Workloads[w.Node][w.UID] = workload(w)
	}
	return out
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
