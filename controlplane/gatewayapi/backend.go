package gatewayapi

import (
	"fmt"

	"github.com/culvert-mesh/culvert/controlplane/model"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// backends resolves a rule's backendRefs. A reference that leads nowhere keeps its
// weight, as an invalid share (HTTPRouteRule.backendRefs: 500 for that share).
func (in Input) backends(r Route, refs []gwv1.HTTPBackendRef, field string) ([]model.Weighted, []model.Fault) {
	var out []model.Weighted
	var faults []model.Fault
	for i := range refs {
		ref := &refs[i]
		at := fmt.Sprintf("%s.backendRefs[%d]", field, i)
		w := model.Weighted{Weight: uint32(deref(ref.Weight, 1))}
		id, fault := in.backend(r, ref.BackendObjectReference)
		if fault != nil {
			faults = append(faults, model.Fault{Field: at + fault.Field, Reason: fault.Reason})
		}
		f, fs := filters(ref.Filters, at)
		faults = append(faults, fs...)
		if f.redirect != nil || f.host != "" || f.path != nil {
			faults = append(faults, model.Fault{Field: at + ".filters",
				Reason: "only header modifiers are supported on a backendRef: its share is answered 500"})
			f.unsupported = "URL"
		}
		w.RequestHeaders, w.ResponseHeaders = f.request, f.response
		if w.Invalid = fault != nil || f.unsupported != ""; !w.Invalid {
			w.Backend = id
		}
		out = append(out, w)
	}
	return out, faults
}

// backend resolves one reference to a Service's port.
func (in Input) backend(r Route, ref gwv1.BackendObjectReference) (string, *model.Fault) {
	group, kind := deref(ref.Group, ""), deref(ref.Kind, "Service")
	if group != "" || kind != "Service" {
		return "", &model.Fault{Field: ".kind", Reason: fmt.Sprintf(
			"%s of group %q is not supported, only Service of group \"\"", kind, group)}
	}
	name := model.Name{
		Namespace: string(deref(ref.Namespace, gwv1.Namespace(r.Ref.Name.Namespace))),
		Name:      string(ref.Name),
	}
	// The permission is looked at first: whether a Service of another namespace
	// exists is not told to who may not refer to it.
	if name.Namespace != r.Ref.Name.Namespace && !in.granted(r.Ref.Name.Namespace, name) {
		return "", &model.Fault{Field: ".namespace", Reason: fmt.Sprintf(
			"no ReferenceGrant in namespace %s lets HTTPRoutes of %s refer to Service %s",
			name.Namespace, r.Ref.Name.Namespace, name.Name)}
	}
	service := in.Services[name]
	switch {
	case in.External[name]:
		return "", &model.Fault{Field: ".name", Reason: fmt.Sprintf("Service %s is of type ExternalName", name)}
	case service == nil:
		return "", &model.Fault{Field: ".name", Reason: fmt.Sprintf("Service %s does not exist", name)}
	case ref.Port == nil:
		return "", &model.Fault{Field: ".port", Reason: "required for a Service"}
	}
	port := service.Port(uint16(*ref.Port))
	if port == nil {
		return "", &model.Fault{Field: ".port", Reason: fmt.Sprintf("Service %s has no TCP port %d", name, *ref.Port)}
	}
	return port.ID(), nil
}

// granted says whether a ReferenceGrant lets HTTPRoutes of a namespace refer to a
// Service of another.
func (in Input) granted(from string, to model.Name) bool {
	for _, g := range in.Grants {
		if g.Ref.Name.Namespace == to.Namespace && grantFrom(g.Object, from) && grantTo(g.Object, to.Name) {
			return true
		}
	}
	return false
}

func grantFrom(g *gwv1.ReferenceGrant, namespace string) bool {
	for _, f := range g.Spec.From {
		if f.Group == gwv1.GroupName && f.Kind == "HTTPRoute" && string(f.Namespace) == namespace {
			return true
		}
	}
	return false
}

func grantTo(g *gwv1.ReferenceGrant, service string) bool {
	for _, t := range g.Spec.To {
		if t.Group == "" && t.Kind == "Service" && (t.Name == nil || string(*t.Name) == service) {
			return true
		}
	}
	return false
}
