package world

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Service is a Service with its EndpointSlices.
type Service struct {
	Name string
	// Namespace: "" is "default".
	Namespace string
	// VIP4 and VIP6 are the cluster addresses; the zero value takes the next
	// free one of 10.96.0.0/16 and fd00:96::/112.
	VIP4, VIP6  netip.Addr
	Ports       []Port
	Endpoints   []Endpoint
	Annotations map[string]string
}

// Port is one port of a Service.
type Port struct {
	// Name may be "" when there is only one.
	Name string
	// Port is dialled by clients, Target is where the pods listen; 0: Port.
	Port, Target uint16
	// AppProtocol as in the API; "": not set, the protocol is detected.
	AppProtocol string
}

// Endpoint is a pod behind a Service. The zero conditions mean ready.
type Endpoint struct {
	Pod *Pod
	// NotReady takes it out of the ready ones; Serving and Terminating are
	// the conditions of the same name (KEP-1669).
	NotReady, Serving, Terminating bool
}

// Ready makes ready endpoints of pods.
func Ready(pods ...*Pod) []Endpoint {
	var e []Endpoint
	for _, p := range pods {
		e = append(e, Endpoint{Pod: p})
	}
	return e
}

// Addr4 is where clients dial the service's first port over IPv4.
func (s Service) Addr4() string { return netip.AddrPortFrom(s.VIP4, s.Ports[0].Port).String() }

// Addr6 is where clients dial the service's first port over IPv6.
func (s Service) Addr6() string { return netip.AddrPortFrom(s.VIP6, s.Ports[0].Port).String() }

// Publish writes a service and its endpoints, or writes them anew: endpoints
// change by publishing the same name again. It returns the service with its
// addresses filled in. The change is on disk, not necessarily live yet.
func (w *World) Publish(s Service) (Service, error) {
	if s.Namespace == "" {
		s.Namespace = defaultNamespace
	}
	key := s.Namespace + "/" + s.Name
	w.mu.Lock()
	if old, ok := w.services[key]; ok && !s.VIP4.IsValid() && !s.VIP6.IsValid() {
		s.VIP4, s.VIP6 = old.VIP4, old.VIP6
	}
	if !s.VIP4.IsValid() || !s.VIP6.IsValid() {
		w.nextVIP++
	}
	if !s.VIP4.IsValid() {
		s.VIP4 = address(servicePrefix4(), 9+w.nextVIP)
	}
	if !s.VIP6.IsValid() {
		s.VIP6 = address(servicePrefix6(), 9+w.nextVIP)
	}
	w.services[key] = s
	w.mu.Unlock()
	if err := w.writeNamespace(s.Namespace); err != nil {
		return s, err
	}
	if err := w.WritePolicy("service-"+s.Namespace+"-"+s.Name+".yaml", s.objects()); err != nil {
		return s, err
	}
	return s, w.syncKubeProxy(w.Pods()...)
}

// WritePolicy writes a file of the policy directory, atomically (written aside
// and renamed). Writing what is there already does nothing.
func (w *World) WritePolicy(name, yaml string) error {
	sum := sha256.Sum256([]byte(yaml))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.files[name] == sum {
		return nil
	}
	aside := filepath.Join(w.dir, "aside-"+name)
	if err := os.WriteFile(aside, []byte(yaml), 0o644); err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	if err := os.Rename(aside, filepath.Join(w.Policy, name)); err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	w.files[name] = sum
	return nil
}

// RemovePolicy removes a file of the policy directory.
func (w *World) RemovePolicy(name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.files, name)
	if err := os.Remove(filepath.Join(w.Policy, name)); err != nil {
		return fmt.Errorf("remove policy: %w", err)
	}
	return nil
}

// writeNamespace writes a Namespace whose pods are enrolled.
func (w *World) writeNamespace(name string) error {
	return w.WritePolicy("namespace-"+name+".yaml", fmt.Sprintf(
		"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: %s\n  labels:\n    culvert.dev/mesh: enabled\n", name))
}

// objects is the Service and one EndpointSlice per address family.
func (s Service) objects() string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Service\nmetadata:\n  name: %s\n  namespace: %s\n", s.Name, s.Namespace)
	b.WriteString(yamlMap("  ", "annotations", s.Annotations))
	fmt.Fprintf(&b, "spec:\n  clusterIP: %s\n  clusterIPs: [%q, %q]\n  ipFamilies: [IPv4, IPv6]\n  ports:\n", s.VIP4, s.VIP4, s.VIP6)
	for _, p := range s.Ports {
		fmt.Fprintf(&b, "  - port: %d\n    targetPort: %d\n    protocol: TCP\n", p.Port, p.target())
		b.WriteString(optional("    name: ", p.Name) + optional("    appProtocol: ", p.AppProtocol))
	}
	b.WriteString(s.slice("IPv4", func(p *Pod) netip.Addr { return p.IP4 }))
	b.WriteString(s.slice("IPv6", func(p *Pod) netip.Addr { return p.IP6 }))
	return b.String()
}

func (s Service) slice(family string, ip func(*Pod) netip.Addr) string {
	var b strings.Builder
	fmt.Fprintf(&b, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: %s-%s\n  namespace: %s\n", s.Name, strings.ToLower(family), s.Namespace)
	fmt.Fprintf(&b, "  labels:\n    kubernetes.io/service-name: %s\naddressType: %s\nports:\n", s.Name, family)
	for _, p := range s.Ports {
		fmt.Fprintf(&b, "- port: %d\n  protocol: TCP\n  name: %q\n", p.target(), p.Name)
		b.WriteString(optional("  appProtocol: ", p.AppProtocol))
	}
	if len(s.Endpoints) == 0 {
		return b.String() + "endpoints: []\n"
	}
	b.WriteString("endpoints:\n")
	for _, e := range s.Endpoints {
		fmt.Fprintf(&b, "- addresses: [%q]\n  conditions: {ready: %t, serving: %t, terminating: %t}\n",
			ip(e.Pod), !e.NotReady, !e.NotReady || e.Serving, e.Terminating)
		fmt.Fprintf(&b, "  nodeName: %s\n  targetRef: {kind: Pod, name: %s, namespace: %s, uid: %s}\n",
			e.Pod.world.config.NodeName, e.Pod.Name, e.Pod.Namespace, e.Pod.UID)
	}
	return b.String()
}

func (p Port) target() uint16 {
	if p.Target == 0 {
		return p.Port
	}
	return p.Target
}

// yamlMap writes a map of strings in the order of its keys; nothing for an
// empty one.
func yamlMap(indent, name string, m map[string]string) string {
	if len(m) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s:\n", indent, name)
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%s  %s: %q\n", indent, k, m[k])
	}
	return b.String()
}

func optional(field, value string) string {
	if value == "" {
		return ""
	}
	return field + value + "\n"
}
