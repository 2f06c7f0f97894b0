package chaos

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/test/world"
)

// traces are what a node has in the kernel and on disk, as far as it belongs to
// this world: other worlds may be on the machine.
type traces struct {
	programs []ebpf.ProgramID // that use the pinned maps
	maps     []ebpf.MapID     // that these programs use
	links    []link.ID        // on the world's cgroup
	pins     []string
	routes   map[string]int // of each pod
}

// String is what must not change from one process to the next.
func (x traces) String() string {
	return fmt.Sprintf("%d programs, %d maps, %d links, pins %v, routes %v", len(x.programs), len(x.maps), len(x.links), x.pins, x.routes)
}

// traces looks at the kernel.
func (w *town) traces() (x traces) {
	w.t.Helper()
	var err error
	x.pins, err = filepath.Glob(w.BPFFS + "/*/*")
	check(w.t, err)
	pinned := map[ebpf.MapID]bool{}
	for i, pin := range x.pins {
		x.pins[i] = strings.TrimPrefix(pin, w.BPFFS)
		if m, err := ebpf.LoadPinnedMap(pin, nil); err == nil {
			info, err := m.Info()
			check(w.t, err)
			id, _ := info.ID()
			pinned[id] = true
			m.Close()
		}
	}
	x.programs, x.maps = programsWith(w.t, pinned)
	x.links = linksOn(w.t, w.Cgroup)
	x.routes = map[string]int{}
	for _, pod := range w.Pods() {
		x.routes[pod.Name] = madeRoutes(w.t, pod)
	}
	return x
}

// programsWith finds the programs that use one of the maps, and all their maps.
func programsWith(t *testing.T, pinned map[ebpf.MapID]bool) (programs []ebpf.ProgramID, used []ebpf.MapID) {
	t.Helper()
	all := map[ebpf.MapID]bool{}
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // it went meanwhile
		}
		info, err := p.Info()
		p.Close()
		check(t, err)
		ids, _ := info.MapIDs()
		if slices.ContainsFunc(ids, func(m ebpf.MapID) bool { return pinned[m] }) {
			programs = append(programs, id)
			for _, m := range ids {
				all[m] = true
			}
		}
	}
	maps.Copy(all, pinned)
	return programs, slices.Sorted(maps.Keys(all))
}

// linksOn finds the links on a cgroup, whose id is its inode number.
func linksOn(t *testing.T, cgroup string) (ids []link.ID) {
	t.Helper()
	var st unix.Stat_t
	check(t, unix.Stat(cgroup, &st))
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		check(t, err)
		if c := info.Cgroup(); c != nil && c.CgroupId == st.Ino {
			ids = append(ids, info.ID)
		}
	}
	check(t, it.Err())
	return ids
}

// entries counts those of a pinned map.
func entries(t *testing.T, bpffs, name string) (n int) {
	t.Helper()
	pins, err := filepath.Glob(filepath.Join(bpffs, "*", name))
	check(t, err)
	if len(pins) != 1 {
		t.Fatalf("pins of %s: %v", name, pins)
	}
	m, err := ebpf.LoadPinnedMap(pins[0], nil)
	check(t, err)
	defer m.Close()
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	it := m.Iterate()
	for it.Next(&key, &value) {
		n++
	}
	check(t, it.Err())
	return n
}

// madeRoutes counts the routes of a pod, in all tables, that the kernel has not
// made by itself.
func madeRoutes(t *testing.T, pod *world.Pod) (n int) {
	t.Helper()
	check(t, pod.Do(func() error {
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		for _, r := range routes {
			if r.Protocol != unix.RTPROT_KERNEL {
				n++
			}
		}
		return err
	}))
	return n
}

// left says which of the objects are still there.
func (x traces) left() (left []string) {
	for _, id := range x.programs {
		if p, err := ebpf.NewProgramFromID(id); err == nil {
			left = append(left, fmt.Sprintf("program %d (%s)", id, p))
			p.Close()
		}
	}
	for _, id := range x.maps {
		if m, err := ebpf.NewMapFromID(id); err == nil {
			left = append(left, fmt.Sprintf("map %d (%s)", id, m))
			m.Close()
		}
	}
	for _, id := range x.links {
		if l, err := link.NewFromID(id); err == nil {
			left = append(left, fmt.Sprintf("link %d", id))
			l.Close()
		}
	}
	return left
}

// descriptors counts a process's open files by kind, sockets left out: those
// follow the traffic.
func descriptors(t *testing.T, pid int) string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	check(t, err)
	kinds := map[string]int{}
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) || strings.HasPrefix(to, "socket:") || strings.HasPrefix(to, "pipe:") {
			continue
		}
		kind, _, _ := strings.Cut(to, ":[")
		if strings.HasPrefix(kind, "/") {
			kind = "file"
		}
		kinds[strings.ReplaceAll(kind, "_", "-")]++ // bpf_link: this process made it
	}
	return fmt.Sprint(kinds)
}

// tree lists what is below a directory.
func tree(dir string) (names []string) {
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != dir {
			names = append(names, path)
		}
		return nil
	})
	return names
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused says whether a connect was refused as by an address without listener.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
