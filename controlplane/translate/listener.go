package translate

import (
	"github.com/culvert-mesh/culvert/controlplane/model"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The names of Envoy's filters.
const (
	httpInspector = "envoy.filters.listener.http_inspector"
	tcpProxy      = "envoy.filters.network.tcp_proxy"
	httpManager   = "envoy.filters.network.http_connection_manager"
	httpRouter    = "envoy.filters.http.router"
)

// listener stands for the origins of one port of a Service that has addresses.
func listener(s *model.Service, p *model.Port) *listenerv3.Listener {
	out := &listenerv3.Listener{
		Name:             p.ID(),
		Address:          address(s.Addresses[0], p.Number),
		BindToPort:       wrapperspb.Bool(false),
		TrafficDirection: corev3.TrafficDirection_OUTBOUND,
		Metadata:         metadata(map[string]string{"stance": p.Stance.String()}),
	}
	for _, a := range s.Addresses[1:] {
		out.AdditionalAddresses = append(out.AdditionalAddresses,
			&listenerv3.AdditionalAddress{Address: address(a, p.Number)})
	}
	switch p.Protocol {
	case model.Opaque:
		out.FilterChains = []*listenerv3.FilterChain{tcpChain(p)}
	case model.HTTP:
		out.FilterChains = []*listenerv3.FilterChain{httpChain(p)}
	case model.Detect:
		chain := httpChain(p)
		chain.FilterChainMatch = &listenerv3.FilterChainMatch{ApplicationProtocols: []string{"http/1.0", "http/1.1"}}
		out.FilterChains = []*listenerv3.FilterChain{chain}
		out.DefaultFilterChain = tcpChain(p)
		out.ContinueOnListenerFiltersTimeout = true
		out.ListenerFilters = []*listenerv3.ListenerFilter{{
			Name:       httpInspector,
			ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&inspectorv3.HttpInspector{})},
		}}
	}
	return out
}

func tcpChain(p *model.Port) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{
		Name: tcpProxy,
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(&tcpv3.TcpProxy{
			StatPrefix:       p.ID(),
			ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: p.ID()},
		})},
	}}}
}

func httpChain(p *model.Port) *listenerv3.FilterChain {
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: p.ID(),
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       httpRouter,
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})},
		}},
		UpgradeConfigs: []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
	}
	if p.Routed {
		manager.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource: ads(), RouteConfigName: p.ID(),
		}}
	} else {
		manager.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: ownBackend(p)}
	}
	return &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{
		Name:       httpManager,
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(manager)},
	}}}
}

// ownBackend sends everything to the Service's own endpoints.
func ownBackend(p *model.Port) *routev3.RouteConfiguration {
	return inVirtualHost(p.ID(), []*routev3.Route{{
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: p.ID()},
			Timeout:          durationpb.New(0),
		}},
	}})
}
