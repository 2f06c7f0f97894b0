package xds

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	culvertv1 "github.com/culvert-mesh/culvert/api/v1"
)

func list(m ...proto.Message) []proto.Message { return m }

func pack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{ResourceApiVersion: corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
}

func address(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}}}}
}

func stance(word string) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		metadataKey: {Fields: map[string]*structpb.Value{"stance": structpb.NewStringValue(word)}}}}
}

func tcpFilter(cluster string) *listenerv3.Filter {
	return &listenerv3.Filter{Name: "tcp", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(&tcpv3.TcpProxy{
		StatPrefix: cluster, ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: cluster}})}}
}

func hcm() *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{StatPrefix: "x",
		HttpFilters: []*hcmv3.HttpFilter{{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})}}}}
}

func httpFilter(m *hcmv3.HttpConnectionManager) *listenerv3.Filter {
	return &listenerv3.Filter{Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(m)}}
}

// bare is a Listener without filters.
func bare(name, ip string) *listenerv3.Listener {
	return &listenerv3.Listener{Name: name, Address: address(ip, 80), BindToPort: wrapperspb.Bool(false),
		TrafficDirection: corev3.TrafficDirection_OUTBOUND, Metadata: stance("open")}
}

// opaque is a Listener that the kernel balances.
func opaque(name, ip string) *listenerv3.Listener {
	l := bare(name, ip)
	l.FilterChains = []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{tcpFilter(name)}}}
	return l
}

// routed is an HTTP Listener with a RouteConfiguration of its own name.
func routed(name, ip string) *listenerv3.Listener {
	m := hcm()
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: name}}
	l := bare(name, ip)
	l.FilterChains = []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{httpFilter(m)}}}
	return l
}

// detected is a Listener without a route whose first bytes decide.
func detected(name, ip string) *listenerv3.Listener {
	m := hcm()
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: table1("inline", forward("", name))}
	l := bare(name, ip)
	l.ListenerFilters = []*listenerv3.ListenerFilter{{Name: "inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&inspectorv3.HttpInspector{})}}}
	l.ContinueOnListenerFiltersTimeout = true
	l.FilterChains = []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{httpFilter(m)},
		FilterChainMatch: &listenerv3.FilterChainMatch{ApplicationProtocols: []string{"http/1.0", "http/1.1"}}}}
	l.DefaultFilterChain = &listenerv3.FilterChain{Filters: []*listenerv3.Filter{tcpFilter(name)}}
	return l
}

// table1 is a RouteConfiguration with one virtual host.
func table1(name string, routes ...*routev3.Route) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{Name: name,
		VirtualHosts: []*routev3.VirtualHost{{Name: name, Domains: []string{"*"}, Routes: routes}}}
}

// forward is a Route of everything to one cluster.
func forward(name, cluster string) *routev3.Route {
	return &routev3.Route{Name: name,
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{Timeout: durationpb.New(0),
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}}}}
}

func edsCluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()}}
}

func assign(name string, ips ...string) *endpointv3.ClusterLoadAssignment {
	m := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	l := &endpointv3.LocalityLbEndpoints{}
	for _, ip := range ips {
		l.LbEndpoints = append(l.LbEndpoints, &endpointv3.LbEndpoint{HealthStatus: corev3.HealthStatus_HEALTHY,
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(ip, 8080)}}})
	}
	if len(ips) > 0 {
		m.Endpoints = append(m.Endpoints, l)
	}
	return m
}

func pod(uid string) *culvertv1.Workload {
	return &culvertv1.Workload{Uid: uid, Namespace: "shop", Name: "pod-" + uid, Netns: "/run/netns/" + uid}
}
