package world

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

const defaultNamespace = "default"

// PodConfig says what is special about a pod. The zero value is an enrolled
// pod in the namespace "default" without labels.
type PodConfig struct {
	// Namespace: "" is "default". A Namespace object that enrols its pods is
	// written with the first pod of each.
	Namespace string
	// Labels go into the Pod object. culvert.dev/mesh=disabled opts out.
	Labels map[string]string
	// Annotations go into the Pod object beside culvert.dev/netns.
	Annotations map[string]string
	// Hidden pods have no Pod object: Culvert does not know them.
	Hidden bool
	// Sysctls are set in the pod's namespace: "ipv4/tcp_tw_reuse": "1".
	Sysctls map[string]string
	// Like is a pod that was removed, whose addresses this one gets.
	Like *Pod
}

// Pod is a pod of the world.
type Pod struct {
	*Place
	Namespace, UID string
	IP4, IP6       netip.Addr
	config         PodConfig
	serial, index  int // serial is never used twice, index counts addresses
}

// Pod adds a pod: its namespace with addresses on the bridge, its cgroup and
// its Pod object. Nothing runs in it yet.
func (w *World) Pod(name string, c PodConfig) (*Pod, error) {
	if c.Namespace == "" {
		c.Namespace = defaultNamespace
	}
	w.mu.Lock()
	w.nextPod++
	serial := w.nextPod
	w.mu.Unlock()
	index := serial + 1 // the bridge has the first address
	if c.Like != nil {
		index = c.Like.index
	}

	// Two pods of one name in different namespaces are two places.
	placeName := name
	if c.Namespace != defaultNamespace {
		placeName = c.Namespace + "." + name
	}
	place, err := w.newPlace(placeName)
	if err != nil {
		return nil, err
	}
	p := &Pod{
		Place: place, Namespace: c.Namespace, config: c,
		UID:    fmt.Sprintf("00000000-0000-4000-8000-%012d", serial),
		serial: serial, index: index,
		IP4: address(podPrefix4(), index), IP6: address(podPrefix6(), index),
	}
	p.Name = name
	if err := p.connect(); err != nil {
		return nil, fmt.Errorf("connect pod %s: %w", name, err)
	}
	w.mu.Lock()
	w.pods[c.Namespace+"/"+name] = p
	w.mu.Unlock()
	if err := w.publishPod(p); err != nil {
		return nil, err
	}
	return p, w.syncKubeProxy(p)
}

// connect puts the pod on the bridge.
func (p *Pod) connect() error {
	if err := p.world.Host.Do(func() error { return attachToBridge(p.serial, p.index, p.Netns) }); err != nil {
		return err
	}
	return p.Do(func() error {
		for k, v := range p.config.Sysctls {
			if err := setSysctl(k, v); err != nil {
				return err
			}
		}
		return configurePod(p.index, p.world.config.KubeProxy)
	})
}

// publishPod writes what Culvert is to know about a new pod.
func (w *World) publishPod(p *Pod) error {
	if p.config.Hidden {
		return nil
	}
	if err := w.writeNamespace(p.Namespace); err != nil {
		return err
	}
	return w.WritePolicy(p.file(), p.object())
}

// Addr4 is the pod's IPv4 address with a port.
func (p *Pod) Addr4(port uint16) netip.AddrPort { return netip.AddrPortFrom(p.IP4, port) }

// Addr6 is the pod's IPv6 address with a port.
func (p *Pod) Addr6(port uint16) netip.AddrPort { return netip.AddrPortFrom(p.IP6, port) }

// Remove takes the pod away as a deleted pod goes: its object first, then its
// processes, cgroup and namespace. Services that list it must be published
// anew by the caller.
func (p *Pod) Remove() error {
	w := p.world
	w.mu.Lock()
	delete(w.pods, p.Namespace+"/"+p.Name)
	w.mu.Unlock()
	if !p.config.Hidden {
		if err := w.RemovePolicy(p.file()); err != nil {
			return err
		}
	}
	// By hand, as a CNI plugin does: the kernel takes its time over a namespace,
	// and until then the old pod would answer for its addresses.
	err := p.Kill()
	err = errors.Join(err, w.Host.Do(func() error { return detachFromBridge(p.serial) }))
	return errors.Join(err, p.remove())
}

func (p *Pod) file() string { return "pod-" + p.Namespace + "-" + p.Name + ".yaml" }

// object is the pod as Kubernetes would know it.
func (p *Pod) object() string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\n  namespace: %s\n  uid: %s\n", p.Name, p.Namespace, p.UID)
	b.WriteString(yamlMap("  ", "labels", p.config.Labels))
	annotations := map[string]string{"culvert.dev/netns": p.Netns}
	for k, v := range p.config.Annotations {
		annotations[k] = v
	}
	b.WriteString(yamlMap("  ", "annotations", annotations))
	fmt.Fprintf(&b, "spec:\n  nodeName: %s\n  containers:\n  - name: app\n    image: app\n", p.world.config.NodeName)
	fmt.Fprintf(&b, "status:\n  phase: Running\n  podIP: %s\n  podIPs:\n  - ip: %s\n  - ip: %q\n", p.IP4, p.IP4, p.IP6.String())
	return b.String()
}
