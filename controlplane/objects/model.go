package objects

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/culvert-mesh/culvert/controlplane/gatewayapi"
	"github.com/culvert-mesh/culvert/controlplane/model"
	corev1 "k8s.io/api/core/v1"
)

// Model says what the objects mean together. Problems are references that lead
// nowhere and wishes that are not granted; the model is complete all the same.
// before is the last model, or nil: of two that want one address the one that has
// it already keeps it.
func (s *Set) Model(before *model.Model) (*model.Model, []model.Problem) {
	j := &join{set: s, services: map[model.Name]*model.Service{}, external: map[model.Name]bool{}}
	out := &model.Model{}
	for _, v := range s.Services {
		if service := j.service(v); service != nil {
			out.Services = append(out.Services, service)
			j.services[service.Name] = service
		}
	}
	j.checkOrigins(before)
	j.endpoints()
	j.routes(out.Services)
	out.Workloads = j.workloads(before)
	return out, model.SortProblems(j.problems)
}

// join is one run of Model.
type join struct {
	set      *Set
	services map[model.Name]*model.Service
	external map[model.Name]bool
	problems []model.Problem
}

func (j *join) problem(r model.Ref, field, format string, args ...any) {
	j.problems = append(j.problems, r.Problem(field, fmt.Sprintf(format, args...)))
}

// service is nil where there is nothing to send: ExternalName.
func (j *join) service(v Placed[corev1.Service]) *model.Service {
	spec := &v.Value.Spec
	if spec.Type == corev1.ServiceTypeExternalName {
		j.problem(v.Ref, "spec.type", "ExternalName is not supported: its clients are not captured, "+
			"and a route to it answers 500")
		j.external[v.Ref.Name] = true
		return nil
	}
	out := &model.Service{Name: v.Ref.Name, ClientAffinity: spec.SessionAffinity == corev1.ServiceAffinityClientIP}
	if out.ClientAffinity {
		j.problem(v.Ref, "spec.sessionAffinity", "ClientIP is noted, but not honoured: every request is balanced on its own")
	}
	for _, text := range clusterIPs(v.Value) {
		if addr, err := netip.ParseAddr(text); err == nil {
			out.Addresses = append(out.Addresses, addr.Unmap())
		}
	}
	if len(clusterIPs(v.Value)) == 0 {
		j.problem(v.Ref, "spec.clusterIP", "required (an address, or None): nothing assigns one to a file's Service")
	}
	for _, p := range spec.Ports {
		if protocolOf(p.Protocol) != corev1.ProtocolTCP {
			continue // UDP and SCTP are not captured
		}
		port := model.NewPort(v.Ref.Name, uint16(p.Port))
		port.Name = p.Name
		app := ""
		if p.AppProtocol != nil {
			app = *p.AppProtocol
		}
		port.Protocol = model.DeclaredProtocol(app, p.Name)
		if v.Value.Annotations[StanceAnnotation] == "closed" {
			port.Stance = model.Closed
		}
		out.Ports = append(out.Ports, port)
	}
	slices.SortFunc(out.Ports, func(a, b *model.Port) int { return int(a.Number) - int(b.Number) })
	return out
}

// checkOrigins takes an address from every Service but one: an origin means one
// service only. It is the one that had the address before, or else the first in the
// order of the files.
func (j *join) checkOrigins(before *model.Model) {
	had := map[netip.Addr]model.Name{}
	if before != nil {
		for _, s := range before.Services {
			for _, a := range s.Addresses {
				had[a] = s.Name
			}
		}
	}
	inOrder := slices.Clone(j.set.Services)
	slices.SortStableFunc(inOrder, func(a, b Placed[corev1.Service]) int {
		return cmp.Or(cmp.Compare(a.Ref.File, b.Ref.File), cmp.Compare(a.Ref.Document, b.Ref.Document))
	})
	owner := map[netip.Addr]model.Name{}
	for _, v := range inOrder {
		s := j.services[v.Ref.Name]
		for i := 0; s != nil && i < len(s.Addresses); i++ {
			if a := s.Addresses[i]; had[a] == s.Name {
				owner[a] = s.Name
			}
		}
	}
	for _, v := range inOrder {
		s := j.services[v.Ref.Name]
		if s == nil {
			continue // ExternalName
		}
		kept := make([]netip.Addr, 0, len(s.Addresses))
		for _, a := range s.Addresses {
			first, taken := owner[a]
			if taken && first != s.Name || slices.Contains(kept, a) {
				j.problem(v.Ref, "spec.clusterIPs", "%s belongs to Service %s already", a, first)
				continue
			}
			owner[a] = s.Name
			kept = append(kept, a)
		}
		s.Addresses = kept
	}
}

func (j *join) routes(services []*model.Service) {
	in := gatewayapi.Input{Services: j.services, External: j.external}
	for _, r := range j.set.Routes {
		in.Routes = append(in.Routes, gatewayapi.Route{Ref: r.Ref, Object: r.Value})
	}
	for _, g := range j.set.Grants {
		in.Grants = append(in.Grants, gatewayapi.Grant{Ref: g.Ref, Object: g.Value})
	}
	rules, problems := gatewayapi.Attach(in)
	j.problems = append(j.problems, problems...)
	for _, s := range services {
		for _, p := range s.Ports {
			p.Rules, p.Routed = rules[p.ID()]
		}
	}
}
