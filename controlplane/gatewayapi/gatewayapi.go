// Package gatewayapi owns what Gateway API objects mean: it fills in their
// defaults, refuses what the API server would refuse, and turns the HTTPRoutes
// that are attached to Services (GAMMA, GEP-1324) into model rules in the order in
// which they are tried. It must not know files, xDS or connections. Pure
// functions; any goroutine may call them. controlplane/objects does.
//
// Decisions where the API leaves room:
//
//   - Only producer routes (same namespace as the Service) are accepted. A consumer
//     route would have to hold for its own namespace's workloads alone; it is not
//     accepted, with a problem.
//   - hostnames are ignored (GEP-1324); so are parents other than core Services.
//   - A regular expression must match the whole path or value (RE2, as Envoy), and
//     ranks between exact and prefix paths: after "/" it could never match.
//   - An unsupported filter makes its rule, or its backendRef's share, answer 500.
//   - retry: attempts defaults to 1, backoff to 25ms. backoff is the least wait; the
//     node adds exponential jitter, and waits ten times backoff at most.
package gatewayapi

import (
	"fmt"
	"slices"

	"github.com/culvert-mesh/culvert/controlplane/model"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Route is an HTTPRoute, checked and defaulted by Check, and where it stands.
type Route struct {
	Ref    model.Ref
	Object *gwv1.HTTPRoute
}

// Grant is a ReferenceGrant and where it stands.
type Grant struct {
	Ref    model.Ref
	Object *gwv1.ReferenceGrant
}

// Input is what routes are attached to.
type Input struct {
	Routes []Route
	Grants []Grant
	// Services are all that have endpoints, External those of type ExternalName.
	Services map[model.Name]*model.Service
	External map[model.Name]bool
}

// Attach finds the Services' ports that each route is attached to, and returns
// the rules of every port that has a route, by model.PortID, sorted by precedence.
// A port whose routes are there but hold no rule has an empty, non-nil slice.
func Attach(in Input) (map[string][]model.Rule, []model.Problem) {
	routes := slices.Clone(in.Routes)
	slices.SortStableFunc(routes, compareAge)

	rules := map[string][]ranked{}
	var problems []model.Problem
	for _, r := range routes {
		ports, faults := in.parents(r)
		if len(ports) > 0 {
			flat, more := in.rules(r)
			faults = append(faults, more...)
			for _, id := range ports {
				rules[id] = append(rules[id], flat...)
			}
		}
		for _, f := range faults {
			problems = append(problems, r.Ref.Problem(f.Field, f.Reason))
		}
	}
	out := make(map[string][]model.Rule, len(rules))
	for id, rs := range rules {
		out[id] = sortRules(rs)
	}
	return out, problems
}

// parents returns the IDs of the ports that the route is attached to, each once.
func (in Input) parents(r Route) ([]string, []model.Fault) {
	var ids []string
	var faults []model.Fault
	if len(r.Object.Spec.ParentRefs) == 0 {
		faults = append(faults, model.Fault{Field: "spec.parentRefs", Reason: "no effect: the route is attached to nothing"})
	}
	for i, p := range r.Object.Spec.ParentRefs {
		field := fmt.Sprintf("spec.parentRefs[%d]", i)
		group, kind := deref(p.Group, gwv1.GroupName), deref(p.Kind, "Gateway")
		if kind == "Service" && group == gwv1.GroupName {
			// What is easily forgotten would else look as if nothing were wrong.
			faults = append(faults, model.Fault{Field: field + ".group",
				Reason: `no effect: a Service is of group "", and the default is ` + gwv1.GroupName})
		}
		if group != "" || kind != "Service" {
			continue // a Gateway's route: another controller's business
		}
		found, fault := in.parentPorts(r, p)
		if fault != nil {
			fault.Field = field + fault.Field
			faults = append(faults, *fault)
		}
		for _, id := range found {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids, faults
}

// parentPorts resolves one parentRef. A fault comes with or without ports.
func (in Input) parentPorts(r Route, p gwv1.ParentReference) ([]string, *model.Fault) {
	name := model.Name{
		Namespace: string(deref(p.Namespace, gwv1.Namespace(r.Ref.Name.Namespace))),
		Name:      string(p.Name),
	}
	service := in.Services[name]
	switch {
	case name.Namespace != r.Ref.Name.Namespace:
		return nil, &model.Fault{Field: ".namespace", Reason: fmt.Sprintf(
			"not accepted: Service %s is in another namespace, and consumer routes are not supported", name)}
	case in.External[name]:
		return nil, &model.Fault{Field: ".name", Reason: fmt.Sprintf(
			"not accepted: Service %s is of type ExternalName", name)}
	case service == nil:
		return nil, &model.Fault{Field: ".name", Reason: fmt.Sprintf("Service %s does not exist", name)}
	case service.Headless():
		return nil, &model.Fault{Field: ".name", Reason: fmt.Sprintf(
			"not accepted: Service %s is headless: its clients dial pods, which is not captured", name)}
	}
	return portsOf(service, p)
}

// portsOf picks the ports that a parentRef means: all, or those of its port and
// sectionName. A port that speaks no HTTP is a fault where it is meant by name.
func portsOf(service *model.Service, p gwv1.ParentReference) ([]string, *model.Fault) {
	var ids []string
	var fault *model.Fault
	for _, port := range service.Ports {
		if p.Port != nil && int(*p.Port) != int(port.Number) ||
			p.SectionName != nil && string(*p.SectionName) != port.Name {
			continue
		}
		ids = append(ids, port.ID())
		if port.Protocol == model.Opaque && (p.Port != nil || p.SectionName != nil) {
			fault = &model.Fault{Reason: fmt.Sprintf(
				"no effect: port %s is declared as another protocol than HTTP/1.1", port.ID())}
		}
	}
	if len(ids) == 0 {
		field := ".port"
		if p.Port == nil {
			field = ".sectionName"
		}
		return nil, &model.Fault{Field: field, Reason: fmt.Sprintf("Service %s has no such port", service.Name)}
	}
	return ids, fault
}

// deref is *p, or otherwise where p is nil.
func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
