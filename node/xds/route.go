package xds

import (
	"fmt"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/culvert-mesh/culvert/proxy/table"
)

type protoName = protoreflect.Name

// routeTable is a decoded RouteConfiguration.
type routeTable struct {
	rules []table.RuleInput
	// clusters are the names that the rules forward to, sorted, without
	// invalidBackend.
	clusters []string
	// plain is the cluster when the table does no more than forward all to it,
	// so that no rule is needed; "" otherwise.
	plain string
}

// plainCluster finds routeTable.plain.
func (t *routeTable) plainCluster() string {
	if len(t.rules) != 1 || len(t.clusters) != 1 {
		return ""
	}
	rule := t.rules[0]
	f := rule.Action.Forward
	bare := rule.Name == "" && rule.Match.PathKind == table.PathPrefix && rule.Match.Path == "/" &&
		rule.Match.Method == "" && len(rule.Match.Headers)+len(rule.Match.Query) == 0 &&
		opsEmpty(rule.Action.RequestHeaders) && opsEmpty(rule.Action.ResponseHeaders) &&
		f != nil && f.Rewrite == nil && f.Retry == nil && f.RequestTimeout == 0 && f.AttemptTimeout == 0 &&
		len(f.Backends) == 1 && opsEmpty(f.Backends[0].RequestHeaders) && opsEmpty(f.Backends[0].ResponseHeaders)
	if !bare {
		return ""
	}
	return t.clusters[0]
}

func opsEmpty(o table.HeaderOps) bool { return len(o.Set)+len(o.Add)+len(o.Remove) == 0 }

// decodeRoutes reads a RouteConfiguration with its single virtual host.
func decodeRoutes(m *routev3.RouteConfiguration) (*routeTable, error) {
	if err := only(m, "name", "virtual_hosts"); err != nil {
		return nil, err
	}
	if n := len(m.GetVirtualHosts()); n != 1 {
		return nil, refuse("virtual_hosts", "%d of them; exactly one is supported", n)
	}
	host := m.GetVirtualHosts()[0]
	if err := only(host, "name", "domains", "routes"); err != nil {
		return nil, item("virtual_hosts", 0, err)
	}
	if !slices.Equal(host.GetDomains(), []string{"*"}) {
		return nil, refuse("virtual_hosts[0].domains", "%q: only \"*\" is supported", host.GetDomains())
	}
	t := &routeTable{rules: []table.RuleInput{}}
	for i, r := range host.GetRoutes() {
		rule, err := decodeRule(r)
		if err != nil {
			return nil, at("virtual_hosts[0]", item("routes", i, err))
		}
		t.rules = append(t.rules, rule)
		t.name(rule.Action.Forward)
	}
	slices.Sort(t.clusters)
	t.clusters = slices.Compact(t.clusters)
	t.plain = t.plainCluster()
	for i := range t.rules {
		if t.rules[i].Name == "" {
			t.rules[i].Name = fmt.Sprintf("%s/%d", m.GetName(), i)
		}
	}
	return t, nil
}

// name notes the clusters of a forward.
func (t *routeTable) name(f *table.ForwardInput) {
	if f == nil {
		return
	}
	for _, b := range f.Backends {
		if !b.Invalid {
			t.clusters = append(t.clusters, b.Backend)
		}
	}
}

func decodeRule(m *routev3.Route) (table.RuleInput, error) {
	rule := table.RuleInput{Name: m.GetName()}
	err := only(m, append([]protoName{"name", "match", "metadata", "route", "redirect", "direct_response"}, headerFields...)...)
	if err != nil {
		return rule, err
	}
	if rule.Match, err = decodeMatch(m.GetMatch()); err != nil {
		return rule, at("match", err)
	}
	switch action := m.GetAction().(type) {
	case *routev3.Route_Route:
		rule.Action.Forward, err = decodeForward(action.Route, rule.Match)
		err = at("route", err)
	case *routev3.Route_Redirect:
		rule.Action.Redirect, err = decodeRedirect(action.Redirect, rule.Match)
		err = at("redirect", err)
	case *routev3.Route_DirectResponse:
		rule.Action.Direct, err = decodeDirect(action.DirectResponse, word(m.GetMetadata(), "reason"))
		err = at("direct_response", err)
	default:
		err = refuse("action", "missing")
	}
	if err != nil {
		return rule, err
	}
	rule.Action.RequestHeaders, rule.Action.ResponseHeaders, err = decodeHeaders(m)
	return rule, err
}

// decodeMatch reads the conditions of a route.
func decodeMatch(m *routev3.RouteMatch) (table.MatchInput, error) {
	var match table.MatchInput
	if m == nil {
		return match, refuse("", "missing")
	}
	err := only(m, "prefix", "path", "safe_regex", "path_separated_prefix", "case_sensitive", "headers", "query_parameters")
	if err != nil {
		return match, err
	}
	if c := m.GetCaseSensitive(); c != nil && !c.GetValue() {
		return match, refuse("case_sensitive", "false is not supported")
	}
	if err := decodePath(&match, m); err != nil {
		return match, err
	}
	for i, h := range m.GetHeaders() {
		if err := decodeHeaderMatch(&match, h); err != nil {
			return match, item("headers", i, err)
		}
	}
	for i, q := range m.GetQueryParameters() {
		v, err := decodeQueryMatch(q)
		if err != nil {
			return match, item("query_parameters", i, err)
		}
		match.Query = append(match.Query, v)
	}
	return match, nil
}

// decodePath reads the condition on the path.
func decodePath(match *table.MatchInput, m *routev3.RouteMatch) error {
	switch path := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		match.PathKind, match.Path = table.PathStartsWith, path.Prefix
		if path.Prefix == "/" {
			match.PathKind = table.PathPrefix
		}
	case *routev3.RouteMatch_PathSeparatedPrefix:
		match.PathKind, match.Path = table.PathPrefix, path.PathSeparatedPrefix
	case *routev3.RouteMatch_Path:
		match.PathKind, match.Path = table.PathExact, path.Path
	case *routev3.RouteMatch_SafeRegex:
		match.PathKind, match.Path = table.PathRegexp, path.SafeRegex.GetRegex()
		return at("safe_regex", onlyRegex(path.SafeRegex))
	default:
		return refuse("path_specifier", "missing")
	}
	return nil
}

// onlyRegex refuses what Envoy's RegexMatcher has besides the expression.
func onlyRegex(m *matcherv3.RegexMatcher) error { return only(m, "regex", "google_re2") }

// decodeHeaderMatch adds one header's condition, or the method's.
func decodeHeaderMatch(match *table.MatchInput, m *routev3.HeaderMatcher) error {
	if err := only(m, "name", "string_match", "present_match", "invert_match"); err != nil {
		return err
	}
	v := table.ValueMatch{Name: m.GetName(), Invert: m.GetInvertMatch()}
	if p, ok := m.GetHeaderMatchSpecifier().(*routev3.HeaderMatcher_PresentMatch); ok {
		v.Kind = table.ValuePresent
		v.Invert = v.Invert == p.PresentMatch // "not present", inverted, is present
	} else if err := decodeString(&v, m.GetStringMatch()); err != nil {
		return at("string_match", err)
	}
	if !strings.HasPrefix(v.Name, ":") {
		match.Headers = append(match.Headers, v)
		return nil
	}
	if v.Name != ":method" || v.Kind != table.ValueExact || v.Invert || match.Method != "" {
		return refuse("name", "%q: of the pseudo headers only one exact :method is supported", v.Name)
	}
	match.Method = v.Value
	return nil
}

func decodeQueryMatch(m *routev3.QueryParameterMatcher) (table.ValueMatch, error) {
	v := table.ValueMatch{Name: m.GetName()}
	if err := only(m, "name", "string_match", "present_match"); err != nil {
		return v, err
	}
	if p, ok := m.GetQueryParameterMatchSpecifier().(*routev3.QueryParameterMatcher_PresentMatch); ok {
		v.Kind, v.Invert = table.ValuePresent, !p.PresentMatch
		return v, nil
	}
	return v, at("string_match", decodeString(&v, m.GetStringMatch()))
}

func decodeString(v *table.ValueMatch, m *matcherv3.StringMatcher) error {
	if m == nil {
		return refuse("", "missing")
	}
	if err := only(m, "exact", "safe_regex"); err != nil {
		return err
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		v.Kind, v.Value = table.ValueExact, p.Exact
	case *matcherv3.StringMatcher_SafeRegex:
		v.Kind, v.Value = table.ValueRegexp, p.SafeRegex.GetRegex()
		return at("safe_regex", onlyRegex(p.SafeRegex))
	default:
		return refuse("match_pattern", "missing")
	}
	return nil
}

// decodeRedirect reads a RedirectAction.
func decodeRedirect(m *routev3.RedirectAction, match table.MatchInput) (*table.RedirectInput, error) {
	err := only(m, "https_redirect", "scheme_redirect", "host_redirect", "port_redirect", "path_redirect",
		"prefix_rewrite", "regex_rewrite", "response_code")
	if err != nil {
		return nil, err
	}
	r := &table.RedirectInput{Scheme: m.GetSchemeRedirect(), Host: m.GetHostRedirect(), Path: m.GetPathRedirect()}
	if m.GetHttpsRedirect() {
		r.Scheme = "https"
	}
	if m.GetPortRedirect() > 65535 {
		return nil, refuse("port_redirect", "%d is not a TCP port", m.GetPortRedirect())
	}
	r.Port = uint16(m.GetPortRedirect())
	if strings.ContainsAny(r.Path, "?#") {
		return nil, refuse("path_redirect", "a query or fragment is not supported")
	}
	if m.GetPrefixRewrite() != "" || m.GetRegexRewrite() != nil {
		if r.Prefix, err = decodePrefix(m.GetPrefixRewrite(), m.GetRegexRewrite(), match); err != nil {
			return nil, err
		}
		r.ReplacePrefix = true
	}
	status, known := map[routev3.RedirectAction_RedirectResponseCode]uint16{
		routev3.RedirectAction_MOVED_PERMANENTLY:  301,
		routev3.RedirectAction_FOUND:              302,
		routev3.RedirectAction_SEE_OTHER:          303,
		routev3.RedirectAction_TEMPORARY_REDIRECT: 307,
		routev3.RedirectAction_PERMANENT_REDIRECT: 308,
	}[m.GetResponseCode()]
	if !known {
		return nil, refuse("response_code", "%v is not supported", m.GetResponseCode())
	}
	r.Status = status
	return r, nil
}

// decodeDirect reads a DirectResponseAction.
func decodeDirect(m *routev3.DirectResponseAction, reason string) (*table.DirectInput, error) {
	if err := only(m, "status", "body"); err != nil {
		return nil, err
	}
	if s := m.GetStatus(); s < 200 || s > 599 {
		return nil, refuse("status", "%d is not a final status", s)
	}
	if b := m.GetBody(); b != nil {
		if err := only(b, "inline_string", "inline_bytes"); err != nil {
			return nil, at("body", err)
		}
	}
	body := m.GetBody().GetInlineString() + string(m.GetBody().GetInlineBytes())
	return &table.DirectInput{Status: uint16(m.GetStatus()), Body: body, Reason: reason}, nil
}
