package objects

import (
	"net/netip"
	"slices"

	"github.com/culvert-mesh/culvert/controlplane/model"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// endpoints joins the EndpointSlices to their Services' ports, by port name.
func (j *join) endpoints() {
	for _, s := range j.set.Slices {
		owner := s.Value.Labels[discoveryv1.LabelServiceName]
		if owner == "" {
			j.problem(s.Ref, "metadata.labels["+discoveryv1.LabelServiceName+"]", "required: the name of the Service")
			continue
		}
		name := model.Name{Namespace: s.Ref.Name.Namespace, Name: owner}
		service := j.services[name]
		if service == nil {
			if !j.external[name] {
				j.problem(s.Ref, "metadata.labels["+discoveryv1.LabelServiceName+"]", "Service %s does not exist", name)
			}
			continue
		}
		j.slice(s, service)
	}
	for _, service := range j.services {
		for _, p := range service.Ports {
			p.Endpoints = settle(p.Endpoints, primaryIs4(service), p.Protocol == model.Opaque)
		}
	}
}

func (j *join) slice(s Placed[discoveryv1.EndpointSlice], service *model.Service) {
	for i, slicePort := range s.Value.Ports {
		if slicePort.Protocol != nil && *slicePort.Protocol != corev1.ProtocolTCP {
			continue
		}
		name := ""
		if slicePort.Name != nil {
			name = *slicePort.Name
		}
		at := slices.IndexFunc(service.Ports, func(p *model.Port) bool { return p.Name == name })
		if at < 0 {
			j.problem(s.Ref, "ports["+itoa(i)+"].name", "Service %s has no TCP port named %q", service.Name, name)
			continue
		}
		port := service.Ports[at]
		for _, e := range s.Value.Endpoints {
			port.Endpoints = append(port.Endpoints, endpointsOf(e, uint16(*slicePort.Port))...)
		}
	}
}

// endpointsOf reads one entry. The first address counts: consumers must not use
// the others (EndpointSlice.endpoints.addresses).
func endpointsOf(e discoveryv1.Endpoint, port uint16) []model.Endpoint {
	if len(e.Addresses) == 0 {
		return nil
	}
	addr, err := netip.ParseAddr(e.Addresses[0])
	if err != nil {
		return nil // checkSlice refuses it
	}
	// A condition that is not given: ready is true, serving is as ready.
	ready := e.Conditions.Ready == nil || *e.Conditions.Ready
	serving := ready
	if e.Conditions.Serving != nil {
		serving = *e.Conditions.Serving
	}
	return []model.Endpoint{{Addr: netip.AddrPortFrom(addr, port), Ready: ready, Serving: serving}}
}

// settle sorts endpoints, makes each address one, and keeps to one family unless
// both are wanted: a dual-stack pod would count twice. Of the same address in
// several slices (it moves between them), the readiest counts.
func settle(es []model.Endpoint, want4, both bool) []model.Endpoint {
	slices.SortFunc(es, func(a, b model.Endpoint) int { return a.Addr.Compare(b.Addr) })
	out := es[:0:0]
	for _, e := range es {
		if last := len(out) - 1; last >= 0 && out[last].Addr == e.Addr {
			out[last].Ready = out[last].Ready || e.Ready
			out[last].Serving = out[last].Serving || e.Serving
			continue
		}
		out = append(out, e)
	}
	inFamily := func(e model.Endpoint) bool { return e.Addr.Addr().Is4() == want4 }
	if both || !slices.ContainsFunc(out, inFamily) {
		return out
	}
	return slices.DeleteFunc(out, func(e model.Endpoint) bool { return !inFamily(e) })
}

// primaryIs4 tells the Service's primary family: its first address's. A headless
// Service's clients are not captured, so IPv4 is as good as any.
func primaryIs4(s *model.Service) bool {
	return s.Headless() || s.Addresses[0].Is4()
}
