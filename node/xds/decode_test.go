package xds

import (
	"reflect"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	culvertv1 "github.com/culvert-mesh/culvert/api/v1"
	"github.com/culvert-mesh/culvert/proxy/table"
)

// kindFor tells the kind of a message.
func kindFor(t testing.TB, m proto.Message) kind {
	k, ok := kindOf(pack(m).GetTypeUrl())
	if !ok {
		t.Fatalf("%T is not a resource", m)
	}
	return k
}

// changed is a deep copy after a change.
func changed[M proto.Message](m M, change func(M)) M {
	c := proto.Clone(m).(M)
	change(c)
	return c
}

// route1 is a RouteConfiguration whose only route was changed.
func route1(change func(r *routev3.Route)) proto.Message {
	return changed(table1("a/b:80", forward("a/r/0", "a/b:80")), func(m *routev3.RouteConfiguration) {
		change(m.VirtualHosts[0].Routes[0])
	})
}

func TestRefusalNamesTheField(t *testing.T) {
	cluster := edsCluster("a/b:80")
	ears := opaque("a/b:80", "10.0.0.1")
	cases := []struct {
		name string
		m    proto.Message
		want string
	}{
		{"cluster type", changed(cluster, func(m *clusterv3.Cluster) {
			m.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
		}), "type: STRICT_DNS is not supported"},
		{"cluster field", changed(cluster, func(m *clusterv3.Cluster) { m.RespectDnsTtl = true }), "respect_dns_ttl: not supported"},
		{"cluster limit", changed(cluster, func(m *clusterv3.Cluster) {
			m.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{MaxRequests: wrapperspb.UInt32(10)}}}
		}), "circuit_breakers.thresholds[0].max_requests: 10: limits are not supported"},
		{"cluster time", changed(cluster, func(m *clusterv3.Cluster) { m.ConnectTimeout = durationpb.New(-1) }), "connect_timeout: "},
		{"breaker", changed(cluster, func(m *clusterv3.Cluster) {
			m.OutlierDetection = &clusterv3.OutlierDetection{MaxEjectionPercent: wrapperspb.UInt32(10)}
		}), "outlier_detection.max_ejection_percent: 10 is not supported"},
		{"listener address", changed(ears, func(m *listenerv3.Listener) { m.Address = address("example.org", 80) }),
			`address.socket_address.address: "example.org" is not an IP address`},
		{"listener port", changed(ears, func(m *listenerv3.Listener) { m.Address = address("10.0.0.1", 65536) }),
			"address.socket_address.port_value: 65536 is not a TCP port"},
		{"listener bound", changed(ears, func(m *listenerv3.Listener) { m.BindToPort = nil }), "bind_to_port: must be false"},
		{"listener chains", changed(ears, func(m *listenerv3.Listener) { m.FilterChains = nil }), "filter_chains: 0 of them"},
		{"listener filter", changed(ears, func(m *listenerv3.Listener) {
			m.FilterChains[0].Filters[0].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: pack(cluster)}
		}), `filter_chains[0].filters[0].typed_config: type "type.googleapis.com/envoy.config.cluster.v3.Cluster" not supported`},
		{"stance", changed(ears, func(m *listenerv3.Listener) { m.Metadata = stance("ajar") }), `stance: "ajar"`},
		{"hcm field", func() proto.Message {
			h := hcm()
			h.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: "x"}}
			h.ServerName = "me"
			m := bare("a/b:80", "10.0.0.1")
			m.FilterChains = []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{httpFilter(h)}}}
			return m
		}(), "filter_chains[0].filters[0].typed_config.server_name: not supported"},
		{"route field", route1(func(r *routev3.Route) { r.Decorator = &routev3.Decorator{} }), "virtual_hosts[0].routes[0].decorator: not supported"},
		{"route mirror", route1(func(r *routev3.Route) {
			r.GetRoute().RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{}}
		}), "virtual_hosts[0].routes[0].route.request_mirror_policies: not supported"},
		{"route regex", route1(func(r *routev3.Route) {
			r.Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "("}}
		}), "rules[0].match.path"},
		{"route retry", route1(func(r *routev3.Route) { r.GetRoute().RetryPolicy = &routev3.RetryPolicy{RetryOn: "cancelled"} }),
			`route.retry_policy.retry_on: "cancelled" is not supported`},
		{"route header", route1(func(r *routev3.Route) {
			r.RequestHeadersToAdd = []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x", Value: "%PROTOCOL%"}}}
		}), `request_headers_to_add[0].header.value: "%PROTOCOL%": substitutions are not supported`},
		{"route host header", route1(func(r *routev3.Route) {
			r.RequestHeadersToAdd = []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "host", Value: "x"}}}
		}), "requestHeaders"},
		{"route prefix", route1(func(r *routev3.Route) { r.GetRoute().PrefixRewrite = "/xyz" }), "route.prefix_rewrite"},
		{"virtual hosts", changed(table1("a/b:80"), func(m *routev3.RouteConfiguration) { m.VirtualHosts[0].Domains = []string{"a.example"} }),
			"virtual_hosts[0].domains"},
		{"endpoint weight", changed(assign("a/b:80", "10.0.0.1"), func(m *endpointv3.ClusterLoadAssignment) {
			m.Endpoints[0].LbEndpoints[0].LoadBalancingWeight = wrapperspb.UInt32(0)
		}), "endpoints[0].lb_endpoints[0].load_balancing_weight: 0 is not a weight"},
		{"endpoint priority", changed(assign("a/b:80", "10.0.0.1"), func(m *endpointv3.ClusterLoadAssignment) { m.Endpoints[0].Priority = 1 }),
			"endpoints[0].priority: not supported"},
		{"endpoint zero", assign("a/b:80", "0.0.0.0"), "endpoints[0].addr"},
		{"workload netns", changed(pod("a"), func(m *culvertv1.Workload) { m.Netns = "relative" }), "netns: \"relative\" is not an absolute path"},
		{"unknown field", changed(pod("a"), func(m *culvertv1.Workload) {
			m.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1))
		}), "Workload has a field that this version does not know"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := decode(kindFor(t, c.m), wrap(t, c.m, "1"))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestNamesMustAgree(t *testing.T) {
	r := wrap(t, pod("a"), "1")
	r.Name = "b"
	if _, err := decode(workloads, r); err == nil || !strings.HasPrefix(err.Error(), "name: ") {
		t.Fatalf("got %v", err)
	}
}

// decodeRule1 decodes a table of one route and returns the rule.
func decodeRule1(t *testing.T, change func(r *routev3.Route)) table.RuleInput {
	t.Helper()
	m := route1(change)
	r, err := decode(routes, wrap(t, m, "1"))
	if err != nil {
		t.Fatal(err)
	}
	return r.value.(*routeTable).rules[0]
}

func TestPathRewrites(t *testing.T) {
	prefix := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: "/a.b"}}
	corner := &matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: `^/a\.b/?`}, Substitution: "/"}
	cases := []struct {
		name   string
		change func(r *routev3.Route)
		want   table.RewriteInput
	}{
		{"all under root", func(r *routev3.Route) { r.GetRoute().PrefixRewrite = "/xyz/" }, table.RewriteInput{ReplacePrefix: true, Prefix: "/xyz"}},
		{"segment", func(r *routev3.Route) { r.Match = prefix; r.GetRoute().PrefixRewrite = "/xyz" }, table.RewriteInput{ReplacePrefix: true, Prefix: "/xyz"}},
		{"cut off", func(r *routev3.Route) { r.Match = prefix; r.GetRoute().RegexRewrite = corner }, table.RewriteInput{ReplacePrefix: true, Prefix: "/"}},
		{"whole", func(r *routev3.Route) { r.GetRoute().PathRewrite = "/50%%" }, table.RewriteInput{Path: "/50%"}},
		{"host", func(r *routev3.Route) {
			r.GetRoute().HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: "h"}
		}, table.RewriteInput{Host: "h"}},
		{"exact by prefix", func(r *routev3.Route) {
			r.Match = &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: "/a"}}
			r.GetRoute().PrefixRewrite = "/b"
		}, table.RewriteInput{Path: "/b"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := decodeRule1(t, c.change).Action.Forward.Rewrite
			if got == nil || *got != c.want {
				t.Fatalf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestRetryAndTimeouts(t *testing.T) {
	f := decodeRule1(t, func(r *routev3.Route) {
		r.GetRoute().Timeout = nil
		r.GetRoute().RetryPolicy = &routev3.RetryPolicy{RetryOn: "connect-failure, reset,retriable-status-codes",
			NumRetries: wrapperspb.UInt32(3), RetriableStatusCodes: []uint32{503, 500},
			PerTryTimeout: durationpb.New(time.Second),
			RetryBackOff:  &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(time.Millisecond)}}
	}).Action.Forward
	want := &table.RetryInput{Attempts: 3, Codes: []uint16{500, 503}, OnConnectFailure: true, OnReset: true, Backoff: time.Millisecond}
	if !reflect.DeepEqual(f.Retry, want) || f.AttemptTimeout != time.Second || f.RequestTimeout != 15*time.Second {
		t.Fatalf("got %+v of %+v", f.Retry, f)
	}
}

func TestHeaderChangesKeepEnvoysOrder(t *testing.T) {
	got := decodeRule1(t, func(r *routev3.Route) {
		r.RequestHeadersToAdd = []*corev3.HeaderValueOption{
			{Header: &corev3.HeaderValue{Key: "Set", Value: "1"}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD},
			{Header: &corev3.HeaderValue{Key: "Both", Value: "100%%"}},
			{Header: &corev3.HeaderValue{Key: "Both", Value: "3"}},
			{Header: &corev3.HeaderValue{Key: "Add", Value: "4"}},
		}
		r.RequestHeadersToRemove = []string{"both", "Gone"}
	}).Action.RequestHeaders
	want := table.HeaderOps{Set: []table.HeaderValue{{Name: "Set", Value: "1"}, {Name: "Both", Value: "100%"}},
		Add: []table.HeaderValue{{Name: "Both", Value: "3"}, {Name: "Add", Value: "4"}}, Remove: []string{"Gone"}}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

func TestProtocols(t *testing.T) {
	cases := []struct {
		m    *listenerv3.Listener
		want table.ServiceInput
	}{
		{opaque("a/b:80", "10.0.0.1"), table.ServiceInput{Protocol: table.Opaque, Backend: "a/b:80"}},
		{routed("a/b:80", "fd00::1"), table.ServiceInput{Protocol: table.HTTP1}},
		{detected("a/b:80", "10.0.0.1"), table.ServiceInput{Protocol: table.Detect, Backend: "a/b:80"}},
	}
	for _, c := range cases {
		r, err := decode(listeners, wrap(t, c.m, "1"))
		if err != nil {
			t.Fatal(err)
		}
		got := r.value.(*listener).service
		if got.Protocol != c.want.Protocol || got.Backend != c.want.Backend || got.Rules != nil {
			t.Errorf("got %+v, want %+v", got, c.want)
		}
	}
}
