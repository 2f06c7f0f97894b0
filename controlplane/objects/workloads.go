package objects

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"github.com/culvert-mesh/culvert/controlplane/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func itoa(i int) string { return strconv.Itoa(i) }

// workloads are the enrolled pods that run somewhere. Those that are enrolled
// already come first, so that nobody takes their namespace or uid.
func (j *join) workloads(before *model.Model) []model.Workload {
	labels := j.namespaceLabels()
	owner := map[string]model.Name{}
	var out []model.Workload
	for _, p := range incumbentsFirst(j.set.Pods, before) {
		label, exists := labels[p.Ref.Name.Namespace]
		if !exists {
			j.problem(p.Ref, "metadata.namespace", "Namespace %s does not exist", p.Ref.Name.Namespace)
		}
		if own, ok := p.Value.Labels[MeshLabel]; ok {
			label = own // the pod's own word wins
		}
		if label != MeshEnabled || !j.enrollable(p) {
			continue
		}
		w := workload(p)
		if w.Netns != "" {
			if first, taken := owner[w.Netns]; taken {
				j.problem(p.Ref, "metadata.annotations["+NetnsAnnotation+"]", "not enrolled: %s is the namespace of Pod %s", w.Netns, first)
				continue
			}
			owner[w.Netns] = w.Name
		}
		out = append(out, w)
	}
	slices.SortStableFunc(out, func(a, b model.Workload) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.UID, b.UID))
	})
	return j.uniqueUIDs(out)
}

func incumbentsFirst(pods []Placed[corev1.Pod], before *model.Model) []Placed[corev1.Pod] {
	if before == nil {
		return pods
	}
	type identity struct {
		name       model.Name
		uid, netns string
	}
	had := make(map[identity]bool, len(before.Workloads))
	for _, w := range before.Workloads {
		had[identity{w.Name, w.UID, w.Netns}] = true
	}
	var first, rest []Placed[corev1.Pod]
	for _, p := range pods {
		if w := workload(p); had[identity{w.Name, w.UID, w.Netns}] {
			first = append(first, p)
		} else {
			rest = append(rest, p)
		}
	}
	return append(first, rest...)
}

// enrollable says whether a pod that is to be enrolled can be.
func (j *join) enrollable(p Placed[corev1.Pod]) bool {
	switch {
	case p.Value.Spec.NodeName == "" && p.Value.Annotations[NetnsAnnotation] != "":
		j.problem(p.Ref, "spec.nodeName", "not enrolled: no node is named (the --node-name of one)")
		return false
	case !runs(p.Value):
		return false
	case p.Value.Spec.HostNetwork:
		// The host's namespace is everybody's: capturing one pod would
		// capture the node. Only a pod that asks for it is told so.
		if p.Value.Labels[MeshLabel] == MeshEnabled {
			j.problem(p.Ref, "spec.hostNetwork", "not enrolled: a pod on the host's network cannot be captured")
		}
		return false
	}
	return true
}

// namespaceLabels are the mesh labels of all namespaces. "default" always exists.
func (j *join) namespaceLabels() map[string]string {
	out := map[string]string{metav1.NamespaceDefault: ""}
	for _, n := range j.set.Namespaces {
		out[n.Ref.Name.Name] = n.Value.Labels[MeshLabel]
	}
	return out
}

// uniqueUIDs keeps the first of workloads with one UID: it is their name on the wire.
func (j *join) uniqueUIDs(ws []model.Workload) []model.Workload {
	out := ws[:0]
	for _, w := range ws {
		if n := len(out); n > 0 && out[n-1].Node == w.Node && out[n-1].UID == w.UID {
			j.problem(j.podRef(w.Name), "metadata.uid", "not enrolled: %q is the uid of Pod %s", w.UID, out[n-1].Name)
			continue
		}
		out = append(out, w)
	}
	return out
}

func (j *join) podRef(name model.Name) model.Ref {
	for _, p := range j.set.Pods {
		if p.Ref.Name == name {
			return p.Ref
		}
	}
	return model.Ref{Kind: "Pod", Name: name}
}

// runs says that the pod is on a node and has not ended.
func runs(p *corev1.Pod) bool {
	return p.Spec.NodeName != "" && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

func workload(p Placed[corev1.Pod]) model.Workload {
	out := model.Workload{
		UID:            string(p.Value.UID),
		Name:           p.Ref.Name,
		Node:           p.Value.Spec.NodeName,
		Netns:          p.Value.Annotations[NetnsAnnotation],
		ServiceAccount: cmp.Or(p.Value.Spec.ServiceAccountName, "default"),
		Addresses:      podAddresses(p.Value),
	}
	if out.UID == "" {
		out.UID = p.Ref.Name.String()
	}
	for _, name := range []string{"app", "version", "app.kubernetes.io/name", "app.kubernetes.io/version"} {
		if v, ok := p.Value.Labels[name]; ok {
			if out.Labels == nil {
				out.Labels = map[string]string{}
			}
			out.Labels[name] = v
		}
	}
	return out
}

func podAddresses(p *corev1.Pod) []netip.Addr {
	texts := make([]string, 0, len(p.Status.PodIPs)+1)
	for _, ip := range p.Status.PodIPs {
		texts = append(texts, ip.IP)
	}
	if len(texts) == 0 && p.Status.PodIP != "" {
		texts = append(texts, p.Status.PodIP)
	}
	var out []netip.Addr
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil {
			out = append(out, addr.Unmap())
		}
	}
	return out
}
