package xds

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// invalidBackend is the cluster name that stands for a reference which the
// control plane knows to be unusable; nothing waits for it, its share is a 500.
const invalidBackend = "invalid-backend"

// defaultTimeout is what Envoy gives a RouteAction without a timeout.
const defaultTimeout = 15 * time.Second

// decodeForward reads a RouteAction.
func decodeForward(m *routev3.RouteAction, match table.MatchInput) (*table.ForwardInput, error) {
	err := only(m, "cluster", "weighted_clusters", "cluster_not_found_response_code", "timeout", "retry_policy",
		"host_rewrite_literal", "path_rewrite", "prefix_rewrite", "regex_rewrite")
	if err != nil {
		return nil, err
	}
	// A missing cluster is 500 here. Envoy's default of 503 cannot be told from
	// "not given", so it is taken for that.
	if m.GetClusterNotFoundResponseCode() == routev3.RouteAction_NOT_FOUND {
		return nil, refuse("cluster_not_found_response_code", "NOT_FOUND is not supported")
	}
	f := &table.ForwardInput{RequestTimeout: defaultTimeout}
	if f.Backends, err = decodeShares(m); err != nil {
		return nil, err
	}
	if m.GetTimeout() != nil {
		if f.RequestTimeout, err = duration("timeout", m.GetTimeout()); err != nil {
			return nil, err
		}
	}
	if p := m.GetRetryPolicy(); p != nil {
		if err := decodeRetry(f, p); err != nil {
			return nil, at("retry_policy", err)
		}
	}
	f.Rewrite, err = decodeRewrite(m, match)
	return f, err
}

// decodeShares reads cluster or weighted_clusters.
func decodeShares(m *routev3.RouteAction) ([]table.WeightedBackend, error) {
	if m.GetWeightedClusters() == nil {
		if m.GetCluster() == "" {
			return nil, refuse("cluster", "missing")
		}
		return []table.WeightedBackend{{Backend: m.GetCluster(), Weight: 1, Invalid: m.GetCluster() == invalidBackend}}, nil
	}
	weighted := m.GetWeightedClusters()
	if err := only(weighted, "clusters"); err != nil {
		return nil, at("weighted_clusters", err)
	}
	shares := []table.WeightedBackend{}
	for i, c := range weighted.GetClusters() {
		share, err := decodeShare(c)
		if err != nil {
			return nil, at("weighted_clusters", item("clusters", i, err))
		}
		shares = append(shares, share)
	}
	return shares, nil
}

func decodeShare(c *routev3.WeightedCluster_ClusterWeight) (table.WeightedBackend, error) {
	share := table.WeightedBackend{Backend: c.GetName(), Weight: c.GetWeight().GetValue(), Invalid: c.GetName() == invalidBackend}
	err := only(c, append([]protoName{"name", "weight"}, headerFields...)...)
	if err == nil && c.GetName() == "" {
		err = refuse("name", "missing")
	}
	if err == nil {
		share.RequestHeaders, share.ResponseHeaders, err = decodeHeaders(c)
	}
	return share, err
}

// headerFields are the fields of header changes on every level that has them.
var headerFields = []protoName{"request_headers_to_add", "request_headers_to_remove",
	"response_headers_to_add", "response_headers_to_remove"}

// headerChanger is a Route or a ClusterWeight.
type headerChanger interface {
	GetRequestHeadersToAdd() []*corev3.HeaderValueOption
	GetRequestHeadersToRemove() []string
	GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	GetResponseHeadersToRemove() []string
}

func decodeHeaders(m headerChanger) (request, response table.HeaderOps, err error) {
	request, err = decodeOps(m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove())
	if err != nil {
		return request, response, at("request_headers_to_add", err)
	}
	response, err = decodeOps(m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove())
	return request, response, at("response_headers_to_add", err)
}

// decodeOps keeps Envoy's order, removals first, in table's, removals last: of
// a name in both lists the removal makes the first addition a Set.
func decodeOps(add []*corev3.HeaderValueOption, remove []string) (table.HeaderOps, error) {
	var ops table.HeaderOps
	replaced := map[string]bool{}
	for i, h := range add {
		if err := only(h, "header", "append_action", "keep_empty_value"); err != nil {
			return ops, item("", i, err)
		}
		if err := only(h.GetHeader(), "key", "value"); err != nil {
			return ops, item("", i, at("header", err))
		}
		value, err := literal(h.GetHeader().GetValue())
		if err == nil && value == "" && !h.GetKeepEmptyValue() {
			err = refuse("", "empty, and keep_empty_value is not set")
		}
		if err != nil {
			return ops, item("", i, at("header.value", err))
		}
		line := table.HeaderValue{Name: h.GetHeader().GetKey(), Value: value}
		lower := strings.ToLower(line.Name)
		removed := !replaced[lower] && containsFold(remove, line.Name)
		switch action := h.GetAppendAction(); {
		case action == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD, removed && action == corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
			ops.Set = append(ops.Set, line)
		case action == corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
			ops.Add = append(ops.Add, line)
		default:
			return ops, item("", i, refuse("append_action", "%v is not supported", action))
		}
		replaced[lower] = true
	}
	for _, name := range remove {
		if !replaced[strings.ToLower(name)] {
			ops.Remove = append(ops.Remove, name)
		}
	}
	return ops, nil
}

func containsFold(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

// literal reads an Envoy format string that has no substitutions: "%%" is "%".
func literal(format string) (string, error) {
	plain := strings.ReplaceAll(format, "%%", "")
	if strings.Contains(plain, "%") {
		return "", refuse("", "%q: substitutions are not supported", format)
	}
	return strings.ReplaceAll(format, "%%", "%"), nil
}

// decodeRetry reads what is tried again, and the timeout of one try.
func decodeRetry(f *table.ForwardInput, p *routev3.RetryPolicy) error {
	err := only(p, "retry_on", "num_retries", "per_try_timeout", "retriable_status_codes", "retry_back_off")
	if err != nil {
		return err
	}
	if f.AttemptTimeout, err = duration("per_try_timeout", p.GetPerTryTimeout()); err != nil {
		return err
	}
	if p.GetRetryOn() == "" {
		return nil
	}
	r := &table.RetryInput{Attempts: 1}
	if n := p.GetNumRetries(); n != nil {
		r.Attempts = n.GetValue()
	}
	for condition := range strings.SplitSeq(p.GetRetryOn(), ",") {
		if err := retryOn(r, strings.TrimSpace(condition), p.GetRetriableStatusCodes()); err != nil {
			return err
		}
	}
	if b := p.GetRetryBackOff(); b != nil {
		if err := only(b, "base_interval", "max_interval"); err != nil {
			return at("retry_back_off", err)
		}
		if r.Backoff, err = duration("retry_back_off.base_interval", b.GetBaseInterval()); err != nil {
			return err
		}
		if r.MaxBackoff, err = duration("retry_back_off.max_interval", b.GetMaxInterval()); err != nil {
			return err
		}
	}
	f.Retry = r
	return nil
}

// retryOn adds one of Envoy's x-envoy-retry-on words.
func retryOn(r *table.RetryInput, condition string, codes []uint32) error {
	switch condition {
	case "connect-failure":
		r.OnConnectFailure = true
	case "refused-stream": // HTTP/2 only (RFC 9113 8.7); HTTP/1.1 has no such answer
	case "reset":
		r.OnReset = true
	case "gateway-error":
		r.Codes = append(r.Codes, 502, 503, 504)
	case "5xx":
		r.OnConnectFailure, r.OnReset = true, true
		for code := uint16(500); code < 600; code++ {
			r.Codes = append(r.Codes, code)
		}
	case "retriable-status-codes":
		for i, code := range codes {
			if code < 100 || code > 599 {
				return refuse("retriable_status_codes", "[%d]: %d is not a status", i, code)
			}
			r.Codes = append(r.Codes, uint16(code))
		}
	default:
		return refuse("retry_on", "%q is not supported", condition)
	}
	slices.Sort(r.Codes)
	r.Codes = slices.Compact(r.Codes)
	return nil
}

// decodeRewrite reads the changes of host and path; nil when there are none.
func decodeRewrite(m *routev3.RouteAction, match table.MatchInput) (*table.RewriteInput, error) {
	rw := table.RewriteInput{Host: m.GetHostRewriteLiteral()}
	given := 0
	for _, set := range []bool{m.GetPathRewrite() != "", m.GetPrefixRewrite() != "", m.GetRegexRewrite() != nil} {
		if set {
			given++
		}
	}
	if given > 1 {
		return nil, refuse("path_rewrite", "only one of path_rewrite, prefix_rewrite and regex_rewrite may be given")
	}
	var err error
	switch {
	case m.GetPathRewrite() != "":
		if rw.Path, err = literal(m.GetPathRewrite()); err != nil {
			return nil, at("path_rewrite", err)
		}
	case m.GetPrefixRewrite() != "" && match.PathKind == table.PathExact:
		// Envoy: the matched prefix is the whole of an exact path.
		rw.Path = m.GetPrefixRewrite()
	case m.GetPrefixRewrite() != "" || m.GetRegexRewrite() != nil:
		if rw.Prefix, err = decodePrefix(m.GetPrefixRewrite(), m.GetRegexRewrite(), match); err != nil {
			return nil, err
		}
		rw.ReplacePrefix = true
	}
	if rw == (table.RewriteInput{}) {
		return nil, nil
	}
	return &rw, nil
}

// decodePrefix reads the replacement of a matched prefix, which table gives by
// segments (GEP-726) and Envoy by bytes. Where the two would differ it refuses.
func decodePrefix(prefix string, re *matcherv3.RegexMatchAndSubstitute, match table.MatchInput) (string, error) {
	if match.PathKind != table.PathPrefix {
		return "", refuse("prefix_rewrite", "not supported with this kind of path match")
	}
	if re != nil {
		return "/", onlyCorner(re, match.Path)
	}
	switch whole := match.Path == "/"; {
	case whole && !strings.HasSuffix(prefix, "/"):
		return "", refuse("prefix_rewrite", "%q must end in / under the prefix /", prefix)
	case whole && prefix != "/":
		return strings.TrimSuffix(prefix, "/"), nil
	case !whole && strings.HasSuffix(prefix, "/"):
		return "", refuse("prefix_rewrite", "%q must not end in / under a path_separated_prefix", prefix)
	}
	return prefix, nil
}

// onlyCorner accepts the one regex_rewrite that controlplane/translate writes:
// a prefix that is cut off and leaves at least "/".
func onlyCorner(re *matcherv3.RegexMatchAndSubstitute, prefix string) error {
	want := fmt.Sprintf("^%s/?", regexp.QuoteMeta(prefix))
	if got := re.GetPattern().GetRegex(); got != want || re.GetSubstitution() != "/" {
		return refuse("regex_rewrite", "only pattern %q with substitution \"/\" is supported here", want)
	}
	return nil
}
