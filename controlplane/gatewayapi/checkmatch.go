package gatewayapi

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// maxAttempts is ours, not the API's: more retries than this are a mistake.
const maxAttempts = 100

// maxExpression is the CRD's bound of a value; a path's is lower, to no purpose here.
const maxExpression = 4096

// maxProgram is the nodes' bound of a compiled expression: what matching costs is the
// value's length times this. Told here, or else a node would refuse the whole table
// of the port, the rules of other routes too.
const maxProgram = 1000

// Syntax that the CRD demands. Values with a backquote cannot be raw strings.
const (
	headerName  = "[A-Za-z0-9!#$%&'*+\\-.^_`|~]+"
	headerValue = `[!-~]+([\t ]?[!-~]+)*`
	hostname    = `[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*`
	pathChars   = `(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+`
)

// matches says whether a pattern of ours matches the whole string.
func matches(pattern, s string) bool {
	return regexp.MustCompile("^(?:" + pattern + ")$").MatchString(s)
}

func (c *checker) match(m *gwv1.HTTPRouteMatch) {
	c.path(*m.Path.Type, *m.Path.Value)
	if m.Method != nil && !slices.Contains(methods(), *m.Method) {
		c.fault("method", "%q is not one of %v", *m.Method, methods())
	}
	c.limit("headers", len(m.Headers), maxList)
	c.limit("queryParams", len(m.QueryParams), maxList)
	names := map[string]bool{}
	for i, h := range m.Headers {
		c.at(fmt.Sprintf("headers[%d]", i), func() {
			c.valueMatch(string(deref(h.Type, gwv1.HeaderMatchExact)), string(h.Name), h.Value)
			c.unique(names, string(h.Name))
		})
	}
	names = map[string]bool{}
	for i, q := range m.QueryParams {
		c.at(fmt.Sprintf("queryParams[%d]", i), func() {
			c.valueMatch(string(deref(q.Type, gwv1.QueryParamMatchExact)), string(q.Name), q.Value)
			c.unique(names, string(q.Name))
		})
	}
}

func methods() []gwv1.HTTPMethod {
	return []gwv1.HTTPMethod{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
}

// unique refuses a name that the list has already. The CRD compares bytes
// (listMapKey=name), so that case makes two headers; match keeps the first.
func (c *checker) unique(names map[string]bool, name string) {
	if names[name] {
		c.fault("name", "%q is in the list already", name)
	}
	names[name] = true
}

func (c *checker) path(kind gwv1.PathMatchType, value string) {
	switch kind {
	case gwv1.PathMatchRegularExpression:
		c.regexp("path.value", value)
		return
	case gwv1.PathMatchExact, gwv1.PathMatchPathPrefix:
	default:
		c.fault("path.type", "%q is not one of Exact, PathPrefix, RegularExpression", kind)
		return
	}
	if !strings.HasPrefix(value, "/") {
		c.fault("path.value", "%q does not start with /", value)
		return
	}
	for _, bad := range []string{"//", "/./", "/../", "%2f", "%2F", "#"} {
		if strings.Contains(value, bad) {
			c.fault("path.value", "%q contains %s", value, bad)
			return
		}
	}
	if strings.HasSuffix(value, "/..") || strings.HasSuffix(value, "/.") {
		c.fault("path.value", "%q ends with a dot segment", value)
		return
	}
	if !matches(pathChars, value) || len(value) > 1024 {
		c.fault("path.value", "%q is not a path of at most 1024 characters", value)
	}
}

func (c *checker) valueMatch(kind, name, value string) {
	if !matches(headerName, name) {
		c.fault("name", "%q is not a header or parameter name", name)
	}
	if value == "" {
		c.fault("value", "required")
	}
	switch kind {
	case "Exact":
		c.exactValue(value)
	case "RegularExpression":
		c.regexp("value", value)
	default:
		c.fault("type", "%q is not one of Exact, RegularExpression", kind)
	}
}

// exactValue refuses what nodes refuse, since no header's value can be it (RFC 9110
// 5.5): whoever compares with it has slipped.
func (c *checker) exactValue(value string) {
	control := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
	switch {
	case len(value) > maxExpression:
		c.fault("value", "is longer than %d characters", maxExpression)
	case strings.ContainsFunc(value, control):
		c.fault("value", "%q has a control character", value)
	case value != strings.Trim(value, " \t"):
		c.fault("value", "%q has blanks around it", value)
	}
}

func (c *checker) regexp(field, expression string) {
	if len(expression) > maxExpression {
		c.fault(field, "is longer than %d characters", maxExpression)
		return
	}
	if _, err := regexp.Compile(expression); err != nil {
		c.fault(field, "%v", err)
		return
	}
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		c.fault(field, "%v", err)
		return
	}
	if program, err := syntax.Compile(parsed.Simplify()); err != nil || len(program.Inst) > maxProgram {
		c.fault(field, "the expression is too large: count less, such as a* for a{500}")
	}
}

// filters checks a list of filters; onePrefix: the rule has one match, a prefix.
func (c *checker) filters(fs []gwv1.HTTPRouteFilter, onePrefix bool) {
	c.limit("filters", len(fs), maxList)
	seen := map[gwv1.HTTPRouteFilterType]bool{}
	for i := range fs {
		f := &fs[i]
		c.at(fmt.Sprintf("filters[%d]", i), func() {
			repeatable := f.Type == gwv1.HTTPRouteFilterRequestMirror || f.Type == gwv1.HTTPRouteFilterExtensionRef
			if seen[f.Type] && !repeatable {
				c.fault("type", "%s cannot be repeated", f.Type)
			}
			c.filter(f, onePrefix)
		})
		seen[f.Type] = true
	}
	if seen[gwv1.HTTPRouteFilterRequestRedirect] && seen[gwv1.HTTPRouteFilterURLRewrite] {
		c.fault("filters", "RequestRedirect and URLRewrite cannot be used together")
	}
}

// filter checks that the member that the type names is there, and no other.
func (c *checker) filter(f *gwv1.HTTPRouteFilter, onePrefix bool) {
	members := []struct {
		kind gwv1.HTTPRouteFilterType
		name string
		set  bool
	}{
		{gwv1.HTTPRouteFilterRequestHeaderModifier, "requestHeaderModifier", f.RequestHeaderModifier != nil},
		{gwv1.HTTPRouteFilterResponseHeaderModifier, "responseHeaderModifier", f.ResponseHeaderModifier != nil},
		{gwv1.HTTPRouteFilterRequestMirror, "requestMirror", f.RequestMirror != nil},
		{gwv1.HTTPRouteFilterRequestRedirect, "requestRedirect", f.RequestRedirect != nil},
		{gwv1.HTTPRouteFilterURLRewrite, "urlRewrite", f.URLRewrite != nil},
		{gwv1.HTTPRouteFilterCORS, "cors", f.CORS != nil},
		{gwv1.HTTPRouteFilterExternalAuth, "externalAuth", f.ExternalAuth != nil},
		{gwv1.HTTPRouteFilterExtensionRef, "extensionRef", f.ExtensionRef != nil},
	}
	known := false
	for _, m := range members {
		known = known || m.kind == f.Type
		switch {
		case m.kind == f.Type && !m.set:
			c.fault(m.name, "required for type %s", f.Type)
		case m.kind != f.Type && m.set:
			c.fault(m.name, "must not be set for type %q", f.Type)
		}
	}
	if !known {
		c.fault("type", "%q is not a filter type", f.Type)
	}
	c.headers("requestHeaderModifier", f.RequestHeaderModifier)
	c.headers("responseHeaderModifier", f.ResponseHeaderModifier)
	if r := f.RequestRedirect; r != nil {
		c.at("requestRedirect", func() { c.redirect(r, onePrefix) })
	}
	if u := f.URLRewrite; u != nil {
		c.at("urlRewrite", func() {
			c.hostname(u.Hostname)
			c.pathModifier(u.Path, onePrefix)
		})
	}
}

func (c *checker) headers(field string, f *gwv1.HTTPHeaderFilter) {
	if f == nil {
		return
	}
	c.at(field, func() {
		c.headerList("set", f.Set)
		c.headerList("add", f.Add)
		c.limit("remove", len(f.Remove), maxList)
		for i, name := range f.Remove {
			c.changeable(fmt.Sprintf("remove[%d]", i), name)
		}
	})
}

func (c *checker) headerList(field string, hs []gwv1.HTTPHeader) {
	c.limit(field, len(hs), maxList)
	names := map[string]bool{}
	for i, h := range hs {
		c.at(fmt.Sprintf("%s[%d]", field, i), func() {
			c.changeable("name", string(h.Name))
			if !matches(headerValue, h.Value) || len(h.Value) > 4096 {
				c.fault("value", "%q is not a header value", h.Value)
			}
			c.unique(names, strings.ToLower(string(h.Name)))
		})
	}
}

// changeable refuses names that are none, and those of framing and of one hop: the
// proxy alone writes these, or a request could be read in two ways (RFC 9112 11.2).
func (c *checker) changeable(field, name string) {
	switch strings.ToLower(name) {
	case "content-length", "transfer-encoding", "connection", "proxy-connection",
		"keep-alive", "te", "trailer", "upgrade":
		c.fault(field, "%q frames the message, and cannot be changed", name)
		return
	case "host":
		c.fault(field, "%q cannot be changed by a header filter: use URLRewrite.hostname", name)
		return
	}
	if !matches(headerName, name) {
		c.fault(field, "%q is not a header name", name)
	}
}

func (c *checker) redirect(r *gwv1.HTTPRequestRedirectFilter, onePrefix bool) {
	if s := r.Scheme; s != nil && *s != "http" && *s != "https" {
		c.fault("scheme", "%q is not one of http, https", *s)
	}
	if p := r.Port; p != nil && (*p < 1 || *p > 65535) {
		c.fault("port", "%d is not between 1 and 65535", *p)
	}
	if s := r.StatusCode; s != nil && !slices.Contains([]int{301, 302, 303, 307, 308}, *s) {
		c.fault("statusCode", "%d is not one of 301, 302, 303, 307, 308", *s)
	}
	c.hostname(r.Hostname)
	c.pathModifier(r.Path, onePrefix)
}

func (c *checker) hostname(h *gwv1.PreciseHostname) {
	if h != nil && (!matches(hostname, string(*h)) || len(*h) > 253) {
		c.fault("hostname", "%q is not a host name", *h)
	}
}

func (c *checker) pathModifier(p *gwv1.HTTPPathModifier, onePrefix bool) {
	if p == nil {
		return
	}
	full := p.Type == gwv1.FullPathHTTPPathModifier
	prefix := p.Type == gwv1.PrefixMatchHTTPPathModifier
	c.at("path", func() {
		switch {
		case !full && !prefix:
			c.fault("type", "%q is not one of ReplaceFullPath, ReplacePrefixMatch", p.Type)
		case full != (p.ReplaceFullPath != nil):
			c.fault("replaceFullPath", "must be set exactly for type ReplaceFullPath")
		case prefix != (p.ReplacePrefixMatch != nil):
			c.fault("replacePrefixMatch", "must be set exactly for type ReplacePrefixMatch")
		case prefix && !onePrefix:
			c.fault("replacePrefixMatch", "needs exactly one match in the rule, of type PathPrefix")
		default:
			c.replacement("replaceFullPath", p.ReplaceFullPath)
			c.replacement("replacePrefixMatch", p.ReplacePrefixMatch)
		}
	})
}

// replacement refuses what would break the request line or the Location: the CRD
// bounds the length alone, the rest is ours (RFC 9112 3.2.1: origin-form).
func (c *checker) replacement(field string, value *string) {
	switch {
	case value == nil || *value == "":
	case len(*value) > 1024 || !strings.HasPrefix(*value, "/") || !matches(pathChars, *value):
		c.fault(field, "%q is not a path that starts with / and has at most 1024 characters", *value)
	}
}
