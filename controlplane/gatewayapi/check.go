package gatewayapi

import (
	"fmt"
	"slices"
	"time"

	"github.com/culvert-mesh/culvert/controlplane/model"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// maxDuration is the nodes' bound.
const maxDuration = 24 * time.Hour

// Limits of the HTTPRoute CRD.
const (
	maxRules          = 16
	maxMatches        = 64
	maxMatchesOfRoute = 128
	maxList           = 16
	maxWeight         = 1_000_000
)

// Check fills in the defaults of the HTTPRoute CRD in place, as the API server
// would have, and returns what the API server would have refused. An object with
// a fault is not fit for Attach.
func Check(r *gwv1.HTTPRoute) []model.Fault {
	c := &checker{}
	applyDefaults(&r.Spec)
	c.limit("spec.rules", len(r.Spec.Rules), maxRules)
	total := 0
	names := map[gwv1.SectionName]bool{}
	for i := range r.Spec.Rules {
		rule := &r.Spec.Rules[i]
		total += len(rule.Matches)
		c.at(fmt.Sprintf("spec.rules[%d]", i), func() { c.rule(rule) })
		if rule.Name != nil && names[*rule.Name] {
			c.fault(fmt.Sprintf("spec.rules[%d].name", i), "%q is the name of an earlier rule", *rule.Name)
		}
		names[deref(rule.Name, "")] = true
	}
	if total > maxMatchesOfRoute {
		c.fault("spec.rules", "has %d matches in all, at most %d are allowed", total, maxMatchesOfRoute)
	}
	return c.faults
}

// applyDefaults does what the CRD's defaults do: no rules is one rule, no matches
// is one match, no path is the prefix "/".
func applyDefaults(s *gwv1.HTTPRouteSpec) {
	if s.Rules == nil {
		s.Rules = []gwv1.HTTPRouteRule{{}}
	}
	for i := range s.Rules {
		if len(s.Rules[i].Matches) == 0 {
			s.Rules[i].Matches = []gwv1.HTTPRouteMatch{{}}
		}
		for j := range s.Rules[i].Matches {
			m := &s.Rules[i].Matches[j]
			if m.Path == nil {
				m.Path = &gwv1.HTTPPathMatch{}
			}
			m.Path.Type = orDefault(m.Path.Type, gwv1.PathMatchPathPrefix)
			m.Path.Value = orDefault(m.Path.Value, "/")
		}
	}
}

func orDefault[T any](p *T, otherwise T) *T {
	if p == nil {
		return &otherwise
	}
	return p
}

// checker collects faults under a path of fields.
type checker struct {
	prefix string
	faults []model.Fault
}

// fault notes a fault of a field below the current one; "" is the current one.
func (c *checker) fault(field, format string, args ...any) {
	if c.prefix != "" && field != "" {
		field = "." + field
	}
	c.faults = append(c.faults, model.Fault{Field: c.prefix + field, Reason: fmt.Sprintf(format, args...)})
}

// at runs f one field deeper.
func (c *checker) at(field string, f func()) {
	outer := c.prefix
	if c.prefix != "" {
		field = c.prefix + "." + field
	}
	c.prefix = field
	f()
	c.prefix = outer
}

// limit refuses a list of more than most entries.
func (c *checker) limit(field string, entries, most int) {
	if entries > most {
		c.fault(field, "has %d entries, at most %d are allowed", entries, most)
	}
}

func (c *checker) rule(r *gwv1.HTTPRouteRule) {
	c.limit("matches", len(r.Matches), maxMatches)
	// The name is part of a metric's label.
	if n := r.Name; n != nil && (!matches(hostname, string(*n)) || len(*n) > 253) {
		c.fault("name", "%q is not a name (RFC 1123)", *n)
	}
	for i := range r.Matches {
		c.at(fmt.Sprintf("matches[%d]", i), func() { c.match(&r.Matches[i]) })
	}
	// replacePrefixMatch needs one prefix to replace.
	onePrefix := len(r.Matches) == 1 && *r.Matches[0].Path.Type == gwv1.PathMatchPathPrefix
	c.filters(r.Filters, onePrefix)
	redirects := slices.ContainsFunc(r.Filters, func(f gwv1.HTTPRouteFilter) bool { return f.RequestRedirect != nil })
	if redirects && len(r.BackendRefs) > 0 {
		c.fault("filters", "RequestRedirect must not be used together with backendRefs")
	}
	c.limit("backendRefs", len(r.BackendRefs), maxList)
	for i := range r.BackendRefs {
		c.at(fmt.Sprintf("backendRefs[%d]", i), func() { c.backendRef(&r.BackendRefs[i], onePrefix) })
	}
	c.timeouts(r.Timeouts)
	c.retry(r.Retry)
}

func (c *checker) backendRef(b *gwv1.HTTPBackendRef, onePrefix bool) {
	if b.Name == "" {
		c.fault("name", "required")
	}
	if p := b.Port; p != nil && (*p < 1 || *p > 65535) {
		c.fault("port", "%d is not between 1 and 65535", *p)
	}
	if w := b.Weight; w != nil && (*w < 0 || *w > maxWeight) {
		c.fault("weight", "%d is not between 0 and %d", *w, maxWeight)
	}
	c.filters(b.Filters, onePrefix)
}

func (c *checker) timeouts(t *gwv1.HTTPRouteTimeouts) {
	if t == nil {
		return
	}
	request := c.duration("timeouts.request", t.Request)
	attempt := c.duration("timeouts.backendRequest", t.BackendRequest)
	if t.Request != nil && request != 0 && attempt > request {
		c.fault("timeouts", "backendRequest %s is longer than request %s", *t.BackendRequest, *t.Request)
	}
}

func (c *checker) retry(r *gwv1.HTTPRouteRetry) {
	if r == nil {
		return
	}
	for i, code := range r.Codes {
		if code < 400 || code > 599 {
			c.fault(fmt.Sprintf("retry.codes[%d]", i), "%d is not between 400 and 599", code)
		}
	}
	if a := r.Attempts; a != nil && (*a < 1 || *a > maxAttempts) {
		c.fault("retry.attempts", "%d is not between 1 and %d", *a, maxAttempts)
	}
	c.duration("retry.backoff", r.Backoff)
}

// duration checks the syntax of GEP-2257, which is narrower than Go's.
func (c *checker) duration(field string, d *gwv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	v, err := time.ParseDuration(string(*d))
	if err != nil || !matches(`([0-9]{1,5}(h|m|s|ms)){1,4}`, string(*d)) {
		c.fault(field, "%q is not a duration such as 500ms, 10s or 1m30s", *d)
		return 0
	}
	if v > maxDuration {
		c.fault(field, "%s is longer than a day", *d)
	}
	return v
}
