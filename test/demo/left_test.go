package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// cgroupID is what the kernel's BPF links call a cgroup by: its inode. 0: none.
type cgroupID uint64

// noteCgroup remembers the demo's cgroup while it is there.
func (r *run) noteCgroup() {
	for _, path := range r.cgroups() {
		var s unix.Stat_t
		if unix.Stat(path, &s) == nil {
			r.cg = cgroupID(s.Ino)
		}
	}
}

func (r *run) cgroups() []string {
	name := fmt.Sprintf("culvert-cv%d", r.cmd.Process.Pid)
	return slices.Concat(glob("/sys/fs/cgroup/"+name), glob("/sys/fs/cgroup/unified/"+name))
}

// left lists what there still is of a demo.
func (r *run) left() []string {
	pid := r.cmd.Process.Pid
	left := slices.Concat(
		glob(fmt.Sprintf("/run/netns/cv%d-*", pid)),
		glob(fmt.Sprintf("/run/culvert-world/%d.*", pid)),
		glob(filepath.Join(r.temp, "*")),
		r.cgroups(), r.processes(), r.links(),
	)
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, fmt.Sprintf("/culvert-world/%d.", pid)) || strings.Contains(line, fmt.Sprintf("/netns/cv%d-", pid)) {
			left = append(left, "mount "+line)
		}
	}
	if now := hostNetwork(r.t); now != r.host {
		left = append(left, "the machine's own network was\n"+r.host+"and is\n"+now)
	}
	return left
}

// processes are those that inherited the demo's mark, itself included.
func (r *run) processes() []string {
	var found []string
	for _, path := range glob("/proc/[0-9]*/environ") {
		environ, err := os.ReadFile(path)
		if err != nil || !slices.Contains(strings.Split(string(environ), "\x00"), r.mark) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		found = append(found, filepath.Dir(path)+" "+strings.ReplaceAll(string(line), "\x00", " "))
	}
	return found
}

// links are BPF programs that are attached to the demo's cgroup.
func (r *run) links() []string {
	if r.cg == 0 {
		return nil
	}
	var found []string
	for it := (&link.Iterator{}); it.Next(); {
		info, err := it.Link.Info()
		if err != nil {
			continue // it went while we looked
		}
		if c := info.Cgroup(); c != nil && c.CgroupId == uint64(r.cg) {
			found = append(found, fmt.Sprintf("BPF link %d", it.ID))
		}
	}
	return found
}

// hostNetwork is the machine's own links and routes.
func hostNetwork(t *testing.T) string {
	t.Helper()
	links, err := netlink.LinkList()
	routes, err2 := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, l := range links {
		lines = append(lines, "link "+l.Attrs().Name)
	}
	for _, r := range routes {
		lines = append(lines, "route "+r.String())
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

func glob(pattern string) []string {
	found, _ := filepath.Glob(pattern)
	return found
}
