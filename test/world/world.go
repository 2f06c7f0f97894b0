// Package world builds a Kubernetes node out of network namespaces, for tests,
// for the bench and for the demo.
//
// It owns: one namespace that stands for the node (a bridge, the culvert
// process, its admin port), one namespace and one cgroup for each pod, a bpffs
// mount, and a directory of policy YAML. Nothing is put into the machine's own
// network namespace, so several worlds live side by side and none can reach
// outside.
//
// It must not know how Culvert works inside: it starts the binary with flags,
// as a user would, and looks at it through its ports.
//
// All methods may be called from any goroutine. Close undoes everything; what a
// killed process leaves is undone by its guard process, or by Sweep.
package world

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
)

// Config says what a world is made of. The zero value is a good start.
type Config struct {
	// KubeProxy makes VIPs work without Culvert, as kube-proxy would: nftables
	// rules in each pod's namespace. Without it a VIP that Culvert does not
	// capture is unreachable at once (EHOSTUNREACH).
	KubeProxy bool
	// Binary is the culvert binary. "": it is built from this module, once for
	// the process.
	Binary string
	// NodeName is the node's name in Pod objects and flags. "": "node-1".
	NodeName string
}

// World is one node. Make it with New or ForTest.
type World struct {
	// set at construction
	config Config
	id     string // names namespaces and cgroups: "cv<pid>" or "cv<pid>-<n>"
	dir    string // run directory, named after the owner's pid and start time
	// Policy is the directory of YAML that the node watches.
	Policy string
	// State is the node's state directory, BPFFS its own bpf file system,
	// Cgroup the cgroup that holds every pod: the node's --cgroup-root.
	State, BPFFS, Cgroup string
	// Host is the namespace of the node itself.
	Host *Place

	// guarded by mu
	mu       sync.Mutex
	pods     map[string]*Pod     // by namespace/name
	services map[string]Service  // by namespace/name
	files    map[string][32]byte // policy files that were written, by name
	nextPod  int
	nextVIP  int
	nodes    []*Node
	closed   bool
}

// New builds an empty world: a node without pods. The caller must Close it.
// It needs root.
func New(c Config) (*World, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a world of network namespaces needs root")
	}
	if c.NodeName == "" {
		c.NodeName = "node-1"
	}
	if err := startGuard(); err != nil {
		return nil, err
	}
	id, dir, err := claim()
	if err != nil {
		return nil, err
	}
	w := &World{
		config: c, id: id, dir: dir,
		Policy: filepath.Join(dir, "policy"),
		State:  filepath.Join(dir, "state"),
		BPFFS:  filepath.Join(dir, "bpf"),
		pods:   map[string]*Pod{}, services: map[string]Service{}, files: map[string][32]byte{},
	}
	if err := w.build(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// build makes what every world has. Close undoes any prefix of it.
func (w *World) build() error {
	for _, d := range []string{w.Policy, w.State, w.BPFFS} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	if err := mountBPF(w.BPFFS); err != nil {
		return err
	}
	mount, err := cgroupMount()
	if err != nil {
		return err
	}
	w.Cgroup = filepath.Join(mount, "culvert-"+w.id)
	if err := os.Mkdir(w.Cgroup, 0o755); err != nil {
		return fmt.Errorf("make the world's cgroup: %w", err)
	}
	w.Host, err = w.newPlace("node")
	if err != nil {
		return err
	}
	if err := w.Host.Do(buildBridge); err != nil {
		return fmt.Errorf("build the bridge: %w", err)
	}
	return w.writeNamespace(defaultNamespace)
}

// ID names this world on the machine: its namespaces are "<id>-<pod>".
func (w *World) ID() string { return w.id }

// NodeName is the name that the node process is started with.
func (w *World) NodeName() string { return w.config.NodeName }

// Pods lists the pods that are there, in no order.
func (w *World) Pods() []*Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	pods := make([]*Pod, 0, len(w.pods))
	for _, p := range w.pods {
		pods = append(pods, p)
	}
	return pods
}

// Close kills every process of the world and removes its cgroups, mounts,
// namespaces and files. It may be called twice, and on a half-built world.
func (w *World) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	pods := w.pods
	w.pods = map[string]*Pod{}
	w.mu.Unlock()

	err := remove(w.id, w.dir)
	// The processes are dead by now; what is left is to collect them.
	for _, p := range pods {
		p.Place.reap()
	}
	if w.Host != nil {
		w.Host.reap()
	}
	return err
}

// address is the n-th address of a prefix; n counts from 1.
func address(prefix netip.Prefix, n int) netip.Addr {
	raw := prefix.Addr().AsSlice()
	raw[len(raw)-1] += byte(n)
	raw[len(raw)-2] += byte(n >> 8)
	a, _ := netip.AddrFromSlice(raw)
	return a
}
