package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var errInjected = errors.New("injected")

// TestOpenFails: a failure at any step leaves what was there, and nothing else.
func TestOpenFails(t *testing.T) {
	t.Run("first", func(t *testing.T) {
		w := newWorld(t)
		for _, name := range w.steps() {
			if _, err := open(w.config(), failAt(name)); !errors.Is(err, errInjected) {
				t.Fatalf("%s: %v, want the injected error", name, err)
			}
			if pins := w.pins(); len(pins) > 0 {
				t.Errorf("%s: left %v", name, pins)
			}
			// The kernel frees a link some moments after its last reference.
			eventually(t, name+": nothing attached", func() bool { return w.attached() == 0 })
		}
	})
	t.Run("take-over", func(t *testing.T) {
		w := newWorld(t)
		steps := w.steps()
		c := w.open()
		w.enrol(c, "old")
		alive(c)
		redirect(t, c, proxied(StanceClosed, vip4, vip6)...)
		before := w.programs()
		for _, name := range steps {
			if strings.HasPrefix(name, "pin ") {
				continue // not a step of a take-over
			}
			if _, err := open(w.config(), failAt(name)); !errors.Is(err, errInjected) {
				t.Fatalf("%s: %v, want the injected error", name, err)
			}
			w.stillServes(name, "old")
			if after := w.programs(); after != before {
				t.Errorf("%s: programs are %s, were %s", name, after, before)
			}
		}
	})
}

// TestCrash: as TestOpenFails, but the process dies; the next Open clears up.
func TestCrash(t *testing.T) {
	w := newWorld(t)
	steps := w.steps()
	for _, name := range steps {
		w.crash(name)
	}
	c := w.open()
	w.onlyLive("after crashes of first opens")
	if n := w.attached(); n != len(c.objects.Hooks()) {
		t.Errorf("%d programs attached", n)
	}
	w.enrol(c, "old")
	alive(c)
	redirect(t, c, proxied(StanceClosed, vip4, vip6)...)
	for _, name := range steps {
		if !strings.HasPrefix(name, "pin ") {
			w.crash(name)
			w.stillServes("crash at "+name, "old")
		}
	}
	next := w.open()
	w.onlyLive("after crashes of take-overs")
	w.stillServes("opened again", "old")
	if n := w.attached(); n != len(next.objects.Hooks()) {
		t.Errorf("%d programs attached", n)
	}
}

// crash opens in another process that exits at the step.
func (w *world) crash(name string) {
	w.t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), "CRASH_AT="+name, "CRASH_BPFFS="+w.bpffs, "CRASH_CGROUP="+w.cgroup)
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 99 {
		w.t.Fatalf("crash at %s: %v\n%s", name, err, out)
	}
}

func TestCrashChild(t *testing.T) {
	at := os.Getenv("CRASH_AT")
	if at == "" {
		t.Skip("only the child of TestCrash")
	}
	cfg := Config{BPFFS: os.Getenv("CRASH_BPFFS"), CgroupRoot: os.Getenv("CRASH_CGROUP"), Loops: 2}
	_, err := open(cfg, func(name string) error {
		if name == at {
			os.Exit(99)
		}
		return nil
	})
	t.Fatalf("did not reach %s: %v", at, err)
}

// TestTakeOver: while programs connect all the time, a second process opens,
// enrols and admits; every connection reaches one proxy or the other.
func TestTakeOver(t *testing.T) {
	w := newWorld(t)
	old := w.open()
	w.enrol(old, "old")
	alive(old)
	redirect(t, old, proxied(StanceClosed, vip4, vip6)...)

	quit := make(chan struct{})
	var clients sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	for _, to := range []string{vip4, vip6} {
		clients.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				d, err := w.dial("tcp", to)
				mu.Lock()
				if seen[d.greeting]++; err != nil || d.remote.String() != to {
					t.Errorf("dial %s: %q at %s, %v", to, d.greeting, d.remote, err)
				}
				mu.Unlock()
			}
		})
	}
	served := func(name string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return seen["proxy "+name+" for "+vip4] > 20 && seen["proxy "+name+" for "+vip6] > 20
		}
	}
	eventually(t, "served by the old process", served("old"))
	next := w.open()
	if origin, ok := next.Origin(netip.MustParseAddrPort("127.64.0.1:9")); !ok || origin.Port() != 80 {
		t.Errorf("the next process does not know id 1: %v", origin)
	}
	alive(next)
	w.enrol(next, "new")
	redirect(t, next, proxied(StanceClosed, vip4, vip6)...)
	eventually(t, "served by the new process", served("new"))
	must(t, old.Leave(7)) // and must not take the pod from the new one
	mu.Lock()
	clear(seen)
	mu.Unlock()
	eventually(t, "served by the new process alone", served("new"))
	close(quit)
	clients.Wait()
	if seen["proxy old for "+vip4] > 1 {
		t.Errorf("the old process still serves: %v", seen)
	}
}

// TestDeadGeneration: what a dead process stamped does not make the next one alive.
func TestDeadGeneration(t *testing.T) {
	w := newWorld(t)
	old := w.open()
	w.enrol(old, "old")
	redirect(t, old, proxied(StanceClosed, vip4)...)
	stop := alive(old)
	next := w.open()
	w.enrol(next, "new")
	if _, err := w.dial("tcp", vip4); !refused(err) {
		t.Errorf("before the next process's first beat: %v, want refused", err)
	}
	next.Beat(0)
	next.Beat(1)
	if d, err := w.dial("tcp", vip4); d.greeting != "proxy new for "+vip4 {
		t.Errorf("after it: %q, %v", d.greeting, err)
	}
	stop()
}

// TestPrune: workloads whose namespace is gone are forgotten by the next process.
func TestPrune(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.enrol(c, "a")
	const gone = uint64(1) << 60
	must(t, c.objects.Workloads.Put(gone, &(*c.pods.Load())[7].value))
	next := w.open()
	var value = (*c.pods.Load())[7].value
	if err := next.objects.Workloads.Lookup(gone, &value); !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Errorf("a workload without a namespace is still there: %v", err)
	}
	if err := next.objects.Workloads.Lookup((*c.pods.Load())[7].cookie, &value); err != nil {
		t.Errorf("a living workload is gone: %v", err)
	}
}

// TestIDs: an id is kept, rests after its origin's release, and is free later.
func TestIDs(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	redirect(t, c, proxied(StanceOpen, "10.0.0.1:1", "10.0.0.2:2")...)
	id := func(c *Capture, addr string) uint32 { return c.origins.entries[netip.MustParseAddrPort(addr)].value.Id }
	first := id(c, "10.0.0.1:1")
	redirect(t, c, proxied(StanceOpen, "10.0.0.3:3")...)
	if id(c, "10.0.0.3:3") == first {
		t.Error("a released origin's id was given away")
	}
	c = w.open()
	redirect(t, c, proxied(StanceOpen, "10.0.0.1:1")...)
	if got := id(c, "10.0.0.1:1"); got != first {
		t.Errorf("a restart and a release changed an id from %d to %d", first, got)
	}
	two := c.origins.entries[netip.MustParseAddrPort("10.0.0.2:2")]
	two.value.ReleasedAt -= idKeep
	redirect(t, c)
	if _, ok := c.Origin(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 64, 0, byte(two.value.Id)}), 1)); ok {
		t.Error("an origin that was released long ago is still known")
	}
	c.origins.lastID = maxID
	redirect(t, c, proxied(StanceOpen, "10.0.0.4:4")...)
	if got := id(c, "10.0.0.4:4"); got != two.value.Id {
		t.Errorf("after the last id came %d, want the lowest free one, %d", got, two.value.Id)
	}
	for _, bad := range [][]Origin{proxied(StanceOpen, "10.0.0.1:0"), proxied(StanceOpen, "10.0.0.1:1", "10.0.0.1:1"),
		{{Addr: netip.MustParseAddrPort("10.0.0.1:1"), Mode: ModeKernel, Endpoints: []Endpoint{{netip.MustParseAddrPort(vip6), 1}}}}} {
		if err := c.Redirect(bad); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

// TestLayout: pins of another layout are never touched, but by Uninstall.
func TestLayout(t *testing.T) {
	w := newWorld(t)
	must(t, ensureBPFFS(w.bpffs))
	must(t, os.Mkdir(filepath.Join(w.bpffs, layoutPrefix+"0123"), 0o700))
	if _, err := Open(w.config()); !errors.Is(err, ErrLayout) {
		t.Errorf("%v, want ErrLayout", err)
	}
}

func TestDetectCgroup(t *testing.T) {
	mount := filepath.Join(t.TempDir(), "unified tree")
	must(t, os.Mkdir(mount, 0o700))
	file := filepath.Join(t.TempDir(), "mountinfo")
	escaped := strings.ReplaceAll(mount, " ", `\040`)
	must(t, os.WriteFile(file, fmt.Appendf(nil, "30 29 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n31 29 0:27 / %s rw,relatime shared:9 - cgroup2 cgroup2 rw\n", escaped), 0o600))
	for _, name := range []string{"", "kubepods", "kubepods.slice"} {
		must(t, os.MkdirAll(filepath.Join(mount, name), 0o700))
		if got, err := detectCgroup(file); err != nil || got != filepath.Join(mount, name) {
			t.Errorf("found %q, %v, want %q", got, err, filepath.Join(mount, name))
		}
	}
}

// steps is the names of all steps of a first Open, in order.
func (w *world) steps() (names []string) {
	w.t.Helper()
	c, err := open(w.config(), func(name string) error { names = append(names, name); return nil })
	must(w.t, err)
	must(w.t, c.Close())
	must(w.t, Uninstall(w.config()))
	return names
}

func failAt(at string) func(string) error {
	return func(name string) error {
		if name == at {
			return errInjected
		}
		return nil
	}
}

// programs is what the cgroup runs, by id.
func (w *world) programs() string {
	w.t.Helper()
	all := ""
	for _, attach := range []ebpf.AttachType{ebpf.AttachCGroupInet4Connect, ebpf.AttachCGroupInet6Connect,
		ebpf.AttachCgroupInet4GetPeername, ebpf.AttachCgroupInet6GetPeername,
		ebpf.AttachCgroupInet4GetSockname, ebpf.AttachCgroupInet6GetSockname} {
		dir := openFile(w.t, w.cgroup)
		got, err := link.QueryPrograms(link.QueryOptions{Target: int(dir.Fd()), Attach: attach})
		dir.Close()
		must(w.t, err)
		for _, p := range got.Programs {
			all += fmt.Sprintf("%s:%d ", attach, p.ID)
		}
	}
	return all
}

func (w *world) attached() int { return len(strings.Fields(w.programs())) }

func (w *world) stillServes(when, name string) {
	w.t.Helper()
	for _, to := range []string{vip4, vip6} {
		d, err := w.dial("tcp", to)
		if want := "proxy " + name + " for " + to; d.greeting != want || d.remote.String() != to {
			w.t.Errorf("%s: reached %q at %s (%v), want %q", when, d.greeting, d.remote, err, want)
		}
	}
}

func (w *world) onlyLive(when string) {
	w.t.Helper()
	if pins := w.pins(); len(pins) != 1 || !strings.HasPrefix(pins[0], layoutPrefix) {
		w.t.Errorf("%s: pins are %v", when, pins)
	}
}

// pins is what is in the directory, but for the two files that every bpffs has.
func (w *world) pins() (names []string) {
	w.t.Helper()
	entries, err := os.ReadDir(w.bpffs)
	must(w.t, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".debug") {
			names = append(names, e.Name())
		}
	}
	return names
}

// routes is ours in the client's namespace.
func (w *world) routes() (found []netlink.Route) {
	w.t.Helper()
	must(w.t, w.in(w.client, func() error {
		links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer links.Close()
		ours := &netlink.Route{Protocol: routeProtocol, Table: unix.RT_TABLE_LOCAL}
		found, err = links.RouteListFiltered(netlink.FAMILY_V6, ours, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		return err
	}))
	return found
}
