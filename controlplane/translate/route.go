package translate

import (
	"regexp"
	"strings"

	"github.com/culvert-mesh/culvert/controlplane/model"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// noBackend is the typed reason of our own 500, a telemetry reason of the node.
const noBackend = "no_backend"

func routeConfiguration(p *model.Port) *routev3.RouteConfiguration {
	routes := make([]*routev3.Route, 0, len(p.Rules))
	for i := range p.Rules {
		routes = append(routes, route(&p.Rules[i]))
	}
	return inVirtualHost(p.ID(), routes)
}

func inVirtualHost(name string, routes []*routev3.Route) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name:         name,
		VirtualHosts: []*routev3.VirtualHost{{Name: name, Domains: []string{"*"}, Routes: routes}},
	}
}

func route(r *model.Rule) *routev3.Route {
	out := &routev3.Route{
		Name:                    r.Name,
		Match:                   routeMatch(&r.Match),
		RequestHeadersToAdd:     headersToAdd(&r.RequestHeaders),
		RequestHeadersToRemove:  r.RequestHeaders.Remove,
		ResponseHeadersToAdd:    headersToAdd(&r.ResponseHeaders),
		ResponseHeadersToRemove: r.ResponseHeaders.Remove,
	}
	switch {
	case r.Forward != nil:
		out.Action = &routev3.Route_Route{Route: forward(r)}
	case r.Redirect != nil:
		out.Action = &routev3.Route_Redirect{Redirect: redirect(r)}
	default:
		out.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 500}}
		out.Metadata = metadata(map[string]string{"reason": noBackend})
	}
	return out
}

func routeMatch(m *model.Match) *routev3.RouteMatch {
	out := &routev3.RouteMatch{}
	switch {
	case m.PathKind == model.PathExact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.Path}
	case m.PathKind == model.PathRegexp:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: m.Path}}
	case m.Path == "/":
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
	default:
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: m.Path}
	}
	if m.Method != "" {
		out.Headers = append(out.Headers, headerMatcher(model.ValueMatch{Name: ":method", Value: m.Method}))
	}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, headerMatcher(h))
	}
	for _, q := range m.Query {
		out.QueryParameters = append(out.QueryParameters, &routev3.QueryParameterMatcher{
			Name: q.Name,
			QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{
				StringMatch: stringMatcher(q),
			},
		})
	}
	return out
}

func headerMatcher(v model.ValueMatch) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{
		Name:                 v.Name,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: stringMatcher(v)},
	}
}

func stringMatcher(v model.ValueMatch) *matcherv3.StringMatcher {
	if v.Regexp {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: v.Value},
		}}
	}
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: v.Value}}
}

// headersToAdd tells set and add apart by append_action.
func headersToAdd(h *model.HeaderOps) []*corev3.HeaderValueOption {
	var out []*corev3.HeaderValueOption
	option := func(v model.Header, action corev3.HeaderValueOption_HeaderAppendAction) {
		out = append(out, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: v.Name, Value: literal(v.Value)},
			AppendAction: action,
		})
	}
	for _, v := range h.Set {
		option(v, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	}
	for _, v := range h.Add {
		option(v, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	}
	return out
}

// literal writes text for a field that is an Envoy format string.
func literal(s string) string { return strings.ReplaceAll(s, "%", "%%") }

func forward(r *model.Rule) *routev3.RouteAction {
	f := r.Forward
	out := &routev3.RouteAction{
		ClusterNotFoundResponseCode: routev3.RouteAction_INTERNAL_SERVER_ERROR,
		Timeout:                     durationpb.New(f.RequestTimeout),
		RetryPolicy:                 retryPolicy(f),
	}
	setClusters(out, f.Backends)
	if f.Host != "" {
		out.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: f.Host}
	}
	if f.Path != nil && !f.Path.Prefix {
		out.PathRewrite = literal(f.Path.Value)
	}
	if f.Path != nil && f.Path.Prefix {
		out.PrefixRewrite, out.RegexRewrite = prefixChange(&r.Match, f.Path.Value)
	}
	return out
}

// setClusters uses the plain form where one backend takes it all.
func setClusters(a *routev3.RouteAction, backends []model.Weighted) {
	if len(backends) == 1 {
		b := &backends[0]
		if !b.Invalid && b.RequestHeaders.Empty() && b.ResponseHeaders.Empty() {
			a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: b.Backend}
			return
		}
	}
	shares := &routev3.WeightedCluster{}
	for i := range backends {
		b := &backends[i]
		if b.Weight == 0 {
			continue
		}
		name := b.Backend
		if b.Invalid {
			name = InvalidBackend
		}
		shares.Clusters = append(shares.Clusters, &routev3.WeightedCluster_ClusterWeight{
			Name:                    name,
			Weight:                  wrapperspb.UInt32(b.Weight),
			RequestHeadersToAdd:     headersToAdd(&b.RequestHeaders),
			RequestHeadersToRemove:  b.RequestHeaders.Remove,
			ResponseHeadersToAdd:    headersToAdd(&b.ResponseHeaders),
			ResponseHeadersToRemove: b.ResponseHeaders.Remove,
		})
	}
	a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: shares}
}

// prefixChange writes GEP-726's replacement by segments in Envoy's words, which
// replace bytes: a "/" is added or cut so that both give the same path.
func prefixChange(m *model.Match, value string) (string, *matcherv3.RegexMatchAndSubstitute) {
	value = strings.TrimRight(value, "/")
	switch {
	case m.Path == "/":
		return value + "/", nil
	case value != "":
		return value, nil
	}
	return "", &matcherv3.RegexMatchAndSubstitute{
		Pattern:      &matcherv3.RegexMatcher{Regex: "^" + regexp.QuoteMeta(m.Path) + "/?"},
		Substitution: "/",
	}
}

// retryPolicy is nil where the rule asks for neither retries nor a timeout of
// attempts, which in Envoy's types belongs to the retry policy.
func retryPolicy(f *model.Forward) *routev3.RetryPolicy {
	if f.Retry == nil && f.AttemptTimeout == 0 {
		return nil
	}
	out := &routev3.RetryPolicy{NumRetries: wrapperspb.UInt32(0)}
	if f.AttemptTimeout > 0 {
		out.PerTryTimeout = durationpb.New(f.AttemptTimeout)
	}
	if r := f.Retry; r != nil {
		out.RetryOn = "connect-failure,refused-stream,reset"
		out.NumRetries = wrapperspb.UInt32(r.Attempts)
		out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(r.Backoff),
			MaxInterval:  durationpb.New(r.MaxBackoff),
		}
		if len(r.Codes) > 0 {
			out.RetryOn += ",retriable-status-codes"
			out.RetriableStatusCodes = r.Codes
		}
	}
	return out
}

func redirect(r *model.Rule) *routev3.RedirectAction {
	d := r.Redirect
	out := &routev3.RedirectAction{
		HostRedirect: d.Host,
		PortRedirect: uint32(d.Port),
		ResponseCode: redirectCode(d.Status),
	}
	if d.Scheme != "" {
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: d.Scheme}
	}
	if d.Path == nil {
		return out
	}
	if !d.Path.Prefix {
		out.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: d.Path.Value}
		return out
	}
	prefix, expression := prefixChange(&r.Match, d.Path.Value)
	if expression != nil {
		out.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: expression}
	} else {
		out.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: prefix}
	}
	return out
}

func redirectCode(status int) routev3.RedirectAction_RedirectResponseCode {
	switch status {
	case 301:
		return routev3.RedirectAction_MOVED_PERMANENTLY
	case 303:
		return routev3.RedirectAction_SEE_OTHER
	case 307:
		return routev3.RedirectAction_TEMPORARY_REDIRECT
	case 308:
		return routev3.RedirectAction_PERMANENT_REDIRECT
	}
	return routev3.RedirectAction_FOUND
}
