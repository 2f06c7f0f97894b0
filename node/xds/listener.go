package xds

import (
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"github.com/envoyproxy/go-control-plane/pkg/wellknown"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// metadataKey is where Culvert's own words are in filter_metadata.
const metadataKey = "culvert.dev"

// listener is a decoded Listener.
type listener struct {
	// service has everything but the rules of a route table that is elsewhere.
	service table.ServiceInput
	// routes names the RouteConfiguration; "" when the rules are inline or
	// there are none.
	routes string
	// inline is a route table inside the Listener, nil when there is none.
	inline *routeTable
}

// clusters lists what the listener itself names, rules of another resource
// excluded.
func (l *listener) clusters() []string {
	var names []string
	if l.service.Backend != "" {
		names = append(names, l.service.Backend)
	}
	if l.inline != nil {
		names = append(names, l.inline.clusters...)
	}
	return names
}

// decodeListener takes the three shapes that controlplane/translate describes:
// opaque, http and detect.
func decodeListener(m *listenerv3.Listener) (*listener, error) {
	err := only(m, "name", "address", "additional_addresses", "bind_to_port", "traffic_direction", "metadata",
		"stat_prefix", "listener_filters", "filter_chains", "default_filter_chain", "continue_on_listener_filters_timeout")
	if err != nil {
		return nil, err
	}
	l := &listener{service: table.ServiceInput{Name: m.GetName()}}
	if m.GetTrafficDirection() == corev3.TrafficDirection_INBOUND {
		return nil, refuse("traffic_direction", "INBOUND is not supported: Culvert captures clients' connections")
	}
	if b := m.GetBindToPort(); b == nil || b.GetValue() {
		return nil, refuse("bind_to_port", "must be false: addresses are origins that clients dial, nothing is bound")
	}
	if l.service.Origins, err = originsOf(m); err != nil {
		return nil, err
	}
	if l.service.Stance, err = stanceOf(m.GetMetadata()); err != nil {
		return nil, err
	}
	return l, l.decodeChains(m)
}

// originsOf reads the addresses that clients dial.
func originsOf(m *listenerv3.Listener) ([]netip.AddrPort, error) {
	first, err := socketAddress(m.GetAddress())
	if err != nil {
		return nil, at("address", err)
	}
	origins := []netip.AddrPort{first}
	for i, more := range m.GetAdditionalAddresses() {
		if err := only(more, "address"); err != nil {
			return nil, item("additional_addresses", i, err)
		}
		origin, err := socketAddress(more.GetAddress())
		if err != nil {
			return nil, item("additional_addresses", i, at("address", err))
		}
		origins = append(origins, origin)
	}
	return origins, nil
}

// socketAddress reads an IP address and a TCP port.
func socketAddress(a *corev3.Address) (netip.AddrPort, error) {
	var none netip.AddrPort
	if a.GetSocketAddress() == nil {
		return none, refuse("socket_address", "missing; only socket addresses are supported")
	}
	s := a.GetSocketAddress()
	if err := only(s, "protocol", "address", "port_value"); err != nil {
		return none, at("socket_address", err)
	}
	if s.GetProtocol() != corev3.SocketAddress_TCP {
		return none, refuse("socket_address.protocol", "%v is not supported", s.GetProtocol())
	}
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil || ip.Zone() != "" {
		return none, refuse("socket_address.address", "%q is not an IP address", s.GetAddress())
	}
	port := s.GetPortValue()
	if port == 0 || port > 65535 {
		return none, refuse("socket_address.port_value", "%d is not a TCP port", port)
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(port)), nil
}

func stanceOf(m *corev3.Metadata) (table.Stance, error) {
	switch v := word(m, "stance"); v {
	case "", "open":
		return table.Open, nil
	case "closed":
		return table.Closed, nil
	default:
		return 0, refuse("metadata[culvert.dev].stance", "%q is neither open nor closed", v)
	}
}

// word reads one of Culvert's own strings from metadata; "" when it is absent.
// Other metadata is for other readers and is ignored.
func word(m *corev3.Metadata, name string) string {
	return m.GetFilterMetadata()[metadataKey].GetFields()[name].GetStringValue()
}

// decodeChains tells the protocol from the filters that there are.
func (l *listener) decodeChains(m *listenerv3.Listener) error {
	if n := len(m.GetFilterChains()); n != 1 {
		return refuse("filter_chains", "%d of them; exactly one is supported", n)
	}
	chain, field := m.GetFilterChains()[0], "filter_chains[0]"
	if len(m.GetListenerFilters()) > 0 || m.GetDefaultFilterChain() != nil {
		l.service.Protocol = table.Detect
		return l.decodeDetect(m)
	}
	filter, err := onlyFilter(chain, "name", "filters")
	if err != nil {
		return at(field, err)
	}
	if filter.GetTypedConfig().MessageIs(&tcpv3.TcpProxy{}) {
		l.service.Protocol = table.Opaque
		l.service.Backend, err = tcpCluster(filter)
	} else {
		l.service.Protocol = table.HTTP1
		err = l.decodeHTTP(filter)
	}
	return at(field+".filters[0].typed_config", err)
}

// decodeDetect takes an HTTP chain and a TCP chain for the rest.
func (l *listener) decodeDetect(m *listenerv3.Listener) error {
	if err := onlyInspector(m.GetListenerFilters()); err != nil {
		return err
	}
	chain := m.GetFilterChains()[0]
	if err := only(chain.GetFilterChainMatch(), "application_protocols"); err != nil {
		return at("filter_chains[0].filter_chain_match", err)
	}
	for i, p := range chain.GetFilterChainMatch().GetApplicationProtocols() {
		if p != "http/1.0" && p != "http/1.1" {
			return refuse("filter_chains[0].filter_chain_match", "application_protocols[%d]: %q is not supported", i, p)
		}
	}
	filter, err := onlyFilter(chain, "name", "filters", "filter_chain_match")
	if err != nil {
		return at("filter_chains[0]", err)
	}
	if err := l.decodeHTTP(filter); err != nil {
		return at("filter_chains[0].filters[0].typed_config", err)
	}
	filter, err = onlyFilter(m.GetDefaultFilterChain(), "name", "filters")
	if err != nil {
		return at("default_filter_chain", err)
	}
	backend, err := tcpCluster(filter)
	if err != nil {
		return at("default_filter_chain.filters[0].typed_config", err)
	}
	if l.service.Backend != "" && l.service.Backend != backend {
		return refuse("default_filter_chain.filters[0].typed_config.cluster",
			"%q differs from the HTTP chain's %q, which is not supported", backend, l.service.Backend)
	}
	l.service.Backend = backend
	return nil
}

// onlyInspector accepts the filter that looks at the first bytes.
func onlyInspector(filters []*listenerv3.ListenerFilter) error {
	if n := len(filters); n != 1 {
		return refuse("listener_filters", "%d of them; only %s is supported", n, wellknown.HTTPInspector)
	}
	if err := only(filters[0], "name", "typed_config"); err != nil {
		return item("listener_filters", 0, err)
	}
	return at("listener_filters[0].typed_config", unpack(filters[0].GetTypedConfig(), &inspectorv3.HttpInspector{}))
}

// onlyFilter returns the single filter of a chain that uses no other fields.
func onlyFilter(chain *listenerv3.FilterChain, fields ...protoName) (*listenerv3.Filter, error) {
	if chain == nil {
		return nil, refuse("", "missing")
	}
	if err := only(chain, fields...); err != nil {
		return nil, err
	}
	if n := len(chain.GetFilters()); n != 1 {
		return nil, refuse("filters", "%d of them; exactly one is supported", n)
	}
	filter := chain.GetFilters()[0]
	if filter.GetTypedConfig() == nil {
		return nil, refuse("filters[0].typed_config", "missing")
	}
	return filter, at("filters[0]", only(filter, "name", "typed_config"))
}

func tcpCluster(filter *listenerv3.Filter) (string, error) {
	m := &tcpv3.TcpProxy{}
	if err := unpack(filter.GetTypedConfig(), m); err != nil {
		return "", err
	}
	if err := only(m, "stat_prefix", "cluster"); err != nil {
		return "", err
	}
	if m.GetCluster() == "" {
		return "", refuse("cluster", "missing")
	}
	return m.GetCluster(), nil
}

// decodeHTTP reads an http_connection_manager.
func (l *listener) decodeHTTP(filter *listenerv3.Filter) error {
	m := &hcmv3.HttpConnectionManager{}
	if err := unpack(filter.GetTypedConfig(), m); err != nil {
		return err
	}
	if err := only(m, "stat_prefix", "rds", "route_config", "http_filters", "upgrade_configs"); err != nil {
		return err
	}
	if err := onlyRouter(m.GetHttpFilters()); err != nil {
		return err
	}
	for i, u := range m.GetUpgradeConfigs() {
		if err := only(u, "upgrade_type"); err != nil {
			return item("upgrade_configs", i, err)
		}
		if u.GetUpgradeType() == "CONNECT" {
			return refuse("upgrade_configs", "CONNECT is not supported")
		}
	}
	if rds := m.GetRds(); rds != nil {
		if err := only(rds, "config_source", "route_config_name"); err != nil {
			return at("rds", err)
		}
		l.routes = rds.GetRouteConfigName()
		if l.routes == "" {
			return refuse("rds.route_config_name", "missing")
		}
		return at("rds.config_source", onlyADS(rds.GetConfigSource()))
	}
	if m.GetRouteConfig() == nil {
		return refuse("route_config", "missing, and so is rds")
	}
	inline, err := decodeRoutes(m.GetRouteConfig())
	if err != nil {
		return at("route_config", err)
	}
	if l.service.Backend = inline.plain; l.service.Backend == "" {
		l.inline = inline
	}
	return nil
}

func onlyRouter(filters []*hcmv3.HttpFilter) error {
	for i, f := range filters {
		if err := only(f, "name", "typed_config"); err != nil {
			return item("http_filters", i, err)
		}
		router := &routerv3.Router{}
		if err := unpack(f.GetTypedConfig(), router); err != nil {
			return item("http_filters", i, at("typed_config", err))
		}
		if err := only(router); err != nil {
			return item("http_filters", i, at("typed_config", err))
		}
	}
	if len(filters) != 1 {
		return refuse("http_filters", "%d of them; exactly one, the router, is supported", len(filters))
	}
	return nil
}

// onlyADS accepts the stream that the resource itself came on.
func onlyADS(source *corev3.ConfigSource) error {
	if err := only(source, "ads", "resource_api_version"); err != nil {
		return err
	}
	if source.GetAds() == nil {
		return refuse("ads", "missing; other sources are not supported")
	}
	return at("ads", only(source.GetAds()))
}
