package gatewayapi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-mesh/culvert/controlplane/model"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// The defaults of HTTPRouteRetry where the API leaves them to us.
const (
	defaultRetryAttempts = 1
	defaultRetryBackoff  = 25 * time.Millisecond
	maxBackoffFactor     = 10
	// minRetryBackoff stands for "0s": on the wire a base of 0 is not valid.
	minRetryBackoff = time.Millisecond
)

// rules flattens a route: one rule of the model for every match of every rule, in
// the order in which they are written.
func (in Input) rules(r Route) ([]ranked, []model.Fault) {
	var out []ranked
	var faults []model.Fault
	for i := range r.Object.Spec.Rules {
		rule := &r.Object.Spec.Rules[i]
		field := fmt.Sprintf("spec.rules[%d]", i)
		action, fs := in.action(r, rule, field)
		faults = append(faults, fs...)
		action.Name = r.Ref.Name.String() + "/" + string(deref(rule.Name, gwv1.SectionName(strconv.Itoa(i))))
		for j := range rule.Matches {
			action.Match = match(&rule.Matches[j])
			out = append(out, ranked{rule: action})
		}
	}
	return out, faults
}

// action is the rule without name and match.
func (in Input) action(r Route, rule *gwv1.HTTPRouteRule, field string) (model.Rule, []model.Fault) {
	f, faults := filters(rule.Filters, field)
	out := model.Rule{RequestHeaders: f.request, ResponseHeaders: f.response}
	if rule.SessionPersistence != nil {
		faults = append(faults, model.Fault{Field: field + ".sessionPersistence", Reason: "ignored: not supported"})
	}
	backends, fs := in.backends(r, rule.BackendRefs, field)
	faults = append(faults, fs...)
	switch {
	case f.unsupported != "":
		out.Refused = "filter " + f.unsupported + " is not supported"
	case f.redirect != nil:
		out.Redirect = f.redirect
	case !usable(backends):
		out.Refused = "no backendRef is usable"
	default:
		out.Forward = forward(rule, backends, f)
	}
	return out, faults
}

func forward(rule *gwv1.HTTPRouteRule, backends []model.Weighted, f filterSet) *model.Forward {
	out := &model.Forward{Backends: backends, Host: f.host, Path: f.path, Retry: retry(rule.Retry)}
	if t := rule.Timeouts; t != nil {
		out.RequestTimeout = duration(t.Request)
		out.AttemptTimeout = duration(t.BackendRequest)
	}
	return out
}

// usable says whether at least one share leads somewhere.
func usable(backends []model.Weighted) bool {
	return slices.ContainsFunc(backends, func(b model.Weighted) bool { return b.Weight > 0 && !b.Invalid })
}

func retry(r *gwv1.HTTPRouteRetry) *model.Retry {
	if r == nil {
		return nil
	}
	out := &model.Retry{Attempts: uint32(deref(r.Attempts, defaultRetryAttempts)), Backoff: duration(r.Backoff)}
	switch {
	case r.Backoff == nil:
		out.Backoff = defaultRetryBackoff
	case out.Backoff == 0:
		out.Backoff = minRetryBackoff
	}
	out.MaxBackoff = min(out.Backoff*maxBackoffFactor, maxDuration)
	for _, c := range r.Codes {
		out.Codes = append(out.Codes, uint32(c))
	}
	slices.Sort(out.Codes)
	out.Codes = slices.Compact(out.Codes)
	return out
}

// duration reads a Gateway API duration (GEP-2257) that Check has passed. Nil is 0.
func duration(d *gwv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	v, err := time.ParseDuration(string(*d))
	if err != nil {
		return 0 // Check refuses it: unreachable with a checked object
	}
	return v
}

func match(m *gwv1.HTTPRouteMatch) model.Match {
	out := model.Match{
		Path:   *m.Path.Value,
		Method: string(deref(m.Method, "")),
	}
	switch *m.Path.Type {
	case gwv1.PathMatchExact:
		out.PathKind = model.PathExact
	case gwv1.PathMatchRegularExpression:
		out.PathKind = model.PathRegexp
	default:
		// /foo/ and /foo are the same prefix (HTTPPathMatch, PathPrefix).
		if out.Path = strings.TrimRight(out.Path, "/"); out.Path == "" {
			out.Path = "/"
		}
	}
	for _, h := range m.Headers {
		name := strings.ToLower(string(h.Name))
		// Of several entries with an equivalent name only the first counts.
		if slices.ContainsFunc(out.Headers, func(v model.ValueMatch) bool { return v.Name == name }) {
			continue
		}
		out.Headers = append(out.Headers, model.ValueMatch{
			Name: name, Value: h.Value, Regexp: deref(h.Type, "") == gwv1.HeaderMatchRegularExpression,
		})
	}
	for _, q := range m.QueryParams {
		out.Query = append(out.Query, model.ValueMatch{
			Name: string(q.Name), Value: q.Value, Regexp: deref(q.Type, "") == gwv1.QueryParamMatchRegularExpression,
		})
	}
	return out
}
