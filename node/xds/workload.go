package xds

import (
	"maps"
	"net/netip"
	"path/filepath"

	culvertv1 "github.com/culvert-mesh/culvert/api/v1"
)

// Workload is one enrolled pod of this node.
type Workload struct {
	// UID names it for its life; another pod under the same name has another.
	UID             string
	Namespace, Name string
	// Addresses are the pod's, the primary one first; may be empty.
	Addresses []netip.Addr
	// Netns is the path of its network namespace file; "" when the node has to
	// find it from the UID.
	Netns          string
	ServiceAccount string
	Labels         map[string]string
}

func decodeWorkload(m *culvertv1.Workload) (*Workload, error) {
	// A field that a newer control plane knows is refused as everywhere else:
	// it may say that this pod must not be treated as it always was.
	err := only(m, "uid", "namespace", "name", "addresses", "netns", "service_account", "labels")
	if err != nil {
		return nil, err
	}
	w := &Workload{UID: m.GetUid(), Namespace: m.GetNamespace(), Name: m.GetName(), Netns: m.GetNetns(),
		ServiceAccount: m.GetServiceAccount(), Labels: maps.Clone(m.GetLabels())}
	if w.UID == "" {
		return nil, refuse("uid", "missing")
	}
	if w.Netns != "" && !filepath.IsAbs(w.Netns) {
		return nil, refuse("netns", "%q is not an absolute path", w.Netns)
	}
	for i, text := range m.GetAddresses() {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return nil, refuse("addresses", "[%d]: %q is not an IP address", i, text)
		}
		w.Addresses = append(w.Addresses, ip)
	}
	return w, nil
}
