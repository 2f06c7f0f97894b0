package objects

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"

	"github.com/culvert-mesh/culvert/controlplane/model"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Culvert's own words on Kubernetes objects.
const (
	// MeshLabel on a Pod, or else on its Namespace, enrols it.
	MeshLabel    = "culvert.dev/mesh"
	MeshEnabled  = "enabled"
	MeshDisabled = "disabled"
	// NetnsAnnotation on a Pod is the path of its network namespace file, for
	// nodes that are not Kubernetes'.
	NetnsAnnotation = "culvert.dev/netns"
	// StanceAnnotation on a Service is "open" (the default) or "closed".
	StanceAnnotation = "culvert.dev/stance"
)

// checkPod refuses what would make a workload that cannot be enrolled.
func checkPod(p *corev1.Pod) []model.Fault {
	var faults []model.Fault
	if netns, ok := p.Annotations[NetnsAnnotation]; ok && !filepath.IsAbs(netns) {
		faults = append(faults, model.Fault{Field: "metadata.annotations[" + NetnsAnnotation + "]",
			Reason: fmt.Sprintf("%q is not an absolute path", netns)})
	}
	faults = append(faults, checkMesh(p.Labels)...)
	// The UID is a name on the wire, and becomes part of a path on the node.
	if ok, _ := regexp.MatchString(`^[0-9A-Za-z-]{0,64}$`, string(p.UID)); !ok {
		faults = append(faults, model.Fault{Field: "metadata.uid", Reason: fmt.Sprintf("%q is not a UID", p.UID)})
	}
	for i, ip := range p.Status.PodIPs {
		if _, err := netip.ParseAddr(ip.IP); err != nil {
			faults = append(faults, model.Fault{Field: fmt.Sprintf("status.podIPs[%d].ip", i), Reason: notAddress(ip.IP)})
		}
	}
	if ip := p.Status.PodIP; ip != "" {
		if _, err := netip.ParseAddr(ip); err != nil {
			faults = append(faults, model.Fault{Field: "status.podIP", Reason: notAddress(ip)})
		}
	}
	return faults
}

// checkMesh refuses a slip of the pen that would silently opt out.
func checkMesh(labels map[string]string) []model.Fault {
	if l, ok := labels[MeshLabel]; ok && l != MeshEnabled && l != MeshDisabled {
		return []model.Fault{{Field: "metadata.labels[" + MeshLabel + "]",
			Reason: fmt.Sprintf("%q is neither enabled nor disabled", l)}}
	}
	return nil
}

// unfit says why nobody can be reached at an address from another host, as the API
// server has it (ValidateEndpointIP); "": one can.
func unfit(a netip.Addr) string {
	switch {
	case a.IsUnspecified():
		return "the unspecified address"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsMulticast():
		return "a multicast address"
	case a.IsLinkLocalUnicast():
		return "a link-local address"
	}
	return ""
}

func notAddress(s string) string { return fmt.Sprintf("%q is not an IP address", s) }

// checkService refuses what the API server would.
func checkService(s *corev1.Service) []model.Fault {
	faults := append(checkPorts(s.Spec.Ports), checkClusterIPs(s)...)
	switch v := s.Annotations[StanceAnnotation]; v {
	case "", "open", "closed":
	default:
		faults = append(faults, model.Fault{Field: "metadata.annotations[" + StanceAnnotation + "]",
			Reason: fmt.Sprintf("%q is neither open nor closed", v)})
	}
	return faults
}

func checkPorts(ports []corev1.ServicePort) []model.Fault {
	var faults []model.Fault
	fault := func(field, format string, args ...any) {
		faults = append(faults, model.Fault{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	names, numbers := map[string]bool{}, map[string]bool{}
	for i, p := range ports {
		field := fmt.Sprintf("spec.ports[%d]", i)
		number := fmt.Sprintf("%s %d", protocolOf(p.Protocol), p.Port)
		switch {
		case p.Port < 1 || p.Port > 65535:
			fault(field+".port", "%d is not between 1 and 65535", p.Port)
		case numbers[number]:
			fault(field+".port", "%s is the port of an earlier entry", number)
		case p.Name == "" && len(ports) > 1:
			fault(field+".name", "required where a Service has several ports")
		case names[p.Name]:
			fault(field+".name", "%q is the name of an earlier entry", p.Name)
		}
		names[p.Name], numbers[number] = true, true
	}
	return faults
}

func checkClusterIPs(s *corev1.Service) []model.Fault {
	var faults []model.Fault
	for i, ip := range clusterIPs(s) {
		if ip == corev1.ClusterIPNone {
			continue
		}
		field := "spec.clusterIP"
		if len(s.Spec.ClusterIPs) > 0 {
			field = fmt.Sprintf("spec.clusterIPs[%d]", i)
		}
		if addr, err := netip.ParseAddr(ip); err != nil || addr.Zone() != "" {
			faults = append(faults, model.Fault{Field: field, Reason: notAddress(ip)})
		} else if why := unfit(addr.Unmap()); why != "" {
			faults = append(faults, model.Fault{Field: field, Reason: fmt.Sprintf("%s is %s: no Service can have it", ip, why)})
		}
	}
	return faults
}

// protocolOf fills in the default of a port's protocol.
func protocolOf(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

// clusterIPs are the Service's own addresses, the primary one first: clusterIPs,
// or clusterIP where a file gives only that.
func clusterIPs(s *corev1.Service) []string {
	if len(s.Spec.ClusterIPs) == 0 && s.Spec.ClusterIP != "" {
		return []string{s.Spec.ClusterIP}
	}
	return s.Spec.ClusterIPs
}

// checkSlice refuses what the API server would.
func checkSlice(s *discoveryv1.EndpointSlice) []model.Fault {
	var faults []model.Fault
	fault := func(field, format string, args ...any) {
		faults = append(faults, model.Fault{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	switch s.AddressType {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
	case discoveryv1.AddressTypeFQDN:
		fault("addressType", "FQDN is not supported")
		return faults
	default:
		fault("addressType", "%q is not one of IPv4, IPv6", s.AddressType)
		return faults
	}
	for i, e := range s.Endpoints {
		for j, text := range e.Addresses {
			addr, err := netip.ParseAddr(text)
			field := fmt.Sprintf("endpoints[%d].addresses[%d]", i, j)
			if err != nil || addr.Zone() != "" || addr.Is4In6() || addr.Is4() != (s.AddressType == discoveryv1.AddressTypeIPv4) {
				fault(field, "%q is not an %s address", text, s.AddressType)
			} else if why := unfit(addr); why != "" {
				fault(field, "%s is %s: no endpoint can have it", text, why)
			}
		}
	}
	for i, p := range s.Ports {
		if p.Port == nil || *p.Port < 1 || *p.Port > 65535 {
			fault(fmt.Sprintf("ports[%d].port", i), "required, between 1 and 65535")
		}
	}
	return faults
}
