// Package capture owns the kernel side of one node: the programs on the pods'
// cgroup, their pinned maps, the list of origins and their ids, the enrolled
// network namespaces with their listeners and routes, and the heartbeat. It
// knows nothing of routes, protocols, xDS or Kubernetes. Its caller is node;
// proxy reaches Origin and Socket through its own one-method interfaces.
//
// Goroutines: Open, Release, Redirect, Enrol, Admit, Expel, Leave, Counters,
// Balanced and Close may be called from any goroutine (a mutex orders those
// that write); Origin, Socket and Beat are lock-free or nearly so, and are
// meant for the proxy's loops.
package capture

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/bpf"
)

// ErrLayout: another build's pins are there and their maps cannot be shared.
// They go on working; Uninstall removes them.
var ErrLayout = errors.New("pinned by another version of culvert, whose maps this one cannot take over")

// Config is how to open a capture. The zero value of a field is its default.
type Config struct {
	BPFFS      string // directory for pins; default /sys/fs/bpf/culvert; a bpffs is mounted where none is
	CgroupRoot string // cgroup2 directory to attach to; default: the kubepods cgroup, else the cgroup2 mount
	Loops      int    // loops that will call Beat, 1 to 128; default 1
	Log        *slog.Logger
}

// Capture is the open kernel side. Close leaves everything pinned and working.
type Capture struct {
	// set at construction
	log     *slog.Logger
	objects *bpf.Objects
	links   []link.Link // kept for ever: a link that is collected detaches silently
	home    int         // descriptor of the process's own network namespace
	dir     string      // of the pins; locked to order processes
	beat    *heart

	// guarded by mu
	mu      sync.Mutex
	origins originList
	current bool // origins are what is in the map: nobody else writes any more
	closed  bool

	// replaced under mu, read without it
	addrByID atomic.Pointer[map[uint32]netip.AddrPort]
	pods     atomic.Pointer[map[uint32]*pod]
}

// Open loads the programs and either takes over the pins of an earlier process
// without a gap or makes new ones. On error everything is as it was before.
// The capture does not count as alive before every loop has called Beat.
func Open(cfg Config) (*Capture, error) {
	return open(cfg, func(string) error { return nil })
}

// open calls step before each step that changes something, with its name; an
// error from it fails that step. Tests inject faults there.
func open(cfg Config, step func(string) error) (c *Capture, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if err := ensureBPFFS(cfg.BPFFS); err != nil {
		return nil, err
	}
	unlock, err := lockDir(cfg.BPFFS)
	if err != nil {
		return nil, err
	}
	defer unlock()

	c = &Capture{log: cfg.Log, home: -1, dir: cfg.BPFFS}
	defer func() {
		if err != nil {
			c.Close()
			c = nil
		}
	}()
	in := &installation{dir: cfg.BPFFS, cgroup: cfg.CgroupRoot, step: step}
	if err = c.prepare(in, cfg.Loops); err != nil {
		return c, err
	}
	if c.links, err = in.commit(); err != nil {
		return c, err
	}
	c.log.Info("capture open", "cgroup", cfg.CgroupRoot, "pins", in.live, "taken_over", in.takeover, "generation", c.beat.generation)
	return c, nil
}

// prepare does all that may fail before the first link is touched: from then
// on, programs run.
func (c *Capture) prepare(in *installation, loops int) (err error) {
	if c.home, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open own network namespace: %w", err)
	}
	if err = in.load(); err != nil {
		return err
	}
	c.objects = in.objects
	if err = in.step("claim heartbeat"); err != nil {
		return err
	}
	if c.beat, err = claimHeartbeat(c.objects.Heartbeats, loops); err != nil {
		return err
	}
	if err = c.restoreOrigins(); err != nil {
		return err
	}
	c.pods.Store(&map[uint32]*pod{})
	return pruneWorkloads(c.objects.Workloads)
}

func (cfg *Config) complete() error {
	if cfg.BPFFS == "" {
		cfg.BPFFS = "/sys/fs/bpf/culvert"
	}
	if cfg.Loops == 0 {
		cfg.Loops = 1
	}
	if cfg.Loops < 0 || cfg.Loops > bpf.MaxLoops {
		return fmt.Errorf("loops must be 1 to %d, not %d", bpf.MaxLoops, cfg.Loops)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.CgroupRoot != "" {
		return nil
	}
	var err error
	cfg.CgroupRoot, err = detectCgroup("/proc/self/mountinfo")
	return err
}

// Close gives up this process's descriptors. Pins, links, maps, routes and
// connections stay: the kernel side goes on, and applies each stance once the
// heartbeat is stale. No loop may call Beat, Origin or Socket any more.
func (c *Capture) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	var errs []error
	if pods := c.pods.Load(); pods != nil {
		for _, p := range *pods {
			errs = append(errs, p.close())
		}
	}
	if c.beat != nil {
		errs = append(errs, c.beat.close())
	}
	for _, l := range c.links {
		errs = append(errs, l.Close())
	}
	if c.objects != nil {
		errs = append(errs, c.objects.Close())
	}
	if c.home >= 0 {
		errs = append(errs, unix.Close(c.home))
	}
	return errors.Join(errs...)
}

// Beat says that the loop, 0 to Loops-1, is turning. It is one store into
// memory that the hook reads; call it at least every 50 ms, from that loop.
func (c *Capture) Beat(loop int) { c.beat.stamp(loop) }

// monotonicSeconds is CLOCK_MONOTONIC, which survives this process but not a boot, as pins do.
func monotonicSeconds() uint32 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return uint32(ts.Sec)
}

// lockDir orders the Opens and Uninstalls of all processes on one directory.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		// Blocks while another process opens; the kernel lets go when that one dies.
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}
