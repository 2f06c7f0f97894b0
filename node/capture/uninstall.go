package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/bpf"
)

// Uninstall removes every trace: links first, so that nothing is captured any
// more, then routes in the pods that were enrolled, pins, the directory, and
// the bpffs if it was mounted on that directory and nobody else has pins there.
// Nothing there is no error. A process that still has the capture open goes on
// without effect until it ends; that it does is logged.
func Uninstall(cfg Config) error {
	if cfg.BPFFS == "" {
		cfg.BPFFS = "/sys/fs/bpf/culvert"
	}
	unlock, err := lockDir(cfg.BPFFS)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(cfg.BPFFS) // with the lock: an Open renames
	if err != nil {
		unlock()
		return fmt.Errorf("list pins: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, layoutPrefix) || strings.HasPrefix(name, asidePrefix) {
			dir := filepath.Join(cfg.BPFFS, name)
			if beating(dir) && cfg.Log != nil {
				cfg.Log.Warn("a node is running: from now on it captures nothing; stop it, and start it again to capture", "pins", dir)
			}
			err = errors.Join(err, uninstallDir(dir))
		}
	}
	unlock()
	return errors.Join(err, removeBPFFS(cfg.BPFFS))
}

func uninstallDir(dir string) error {
	workloads, err := ebpf.LoadPinnedMap(filepath.Join(dir, "workloads"), nil)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // else a crash before any workload
		return fmt.Errorf("load pinned workloads: %w", err)
	}
	if err := removePins(dir); err != nil || workloads == nil {
		return err
	}
	defer workloads.Close()
	return unrouteAll(workloads)
}

// unrouteAll removes our routes from each enrolled pod that is alive.
func unrouteAll(workloads *ebpf.Map) error {
	living, err := livingNetns()
	if err != nil {
		return err
	}
	var errs []error
	var cookie uint64
	value := make([]byte, workloads.ValueSize()) // another layout's, perhaps: only the key counts
	it := workloads.Iterate()
	for it.Next(&cookie, &value) {
		if path := living[cookie]; path != "" {
			errs = append(errs, unroutePath(path, nil))
		}
	}
	return errors.Join(append(errs, it.Err())...)
}

func unroutePath(path string, keep []netip.Addr) error {
	netns, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer unix.Close(netns)
	return unroute(netns, keep)
}

// aliveWithin is how old a running process's last beat is at most, but for a
// stuck one: types.h says STALE_NS, after which the hooks count it as away.
const aliveWithin = 200 * time.Millisecond

// beating: a process has stamped the pinned heartbeats lately. Of another layout's
// this cannot be said.
func beating(dir string) bool {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, "heartbeats"), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return false
	}
	defer m.Close()
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil || m.ValueSize() != uint32(unsafe.Sizeof(bpf.Heartbeat{})) {
		return false
	}
	var h bpf.Heartbeat
	for i := range m.MaxEntries() {
		if m.Lookup(i, &h) == nil && h.Loops > 0 && stamped(&h, uint64(now.Nano()), aliveWithin) {
			return true
		}
	}
	return false
}

// removeBPFFS removes the directory, and the mount if the directory is one. Both
// stay where others have pins: --bpffs may name the system's own /sys/fs/bpf.
func removeBPFFS(dir string) error {
	above := filepath.Dir(filepath.Clean(dir))
	var here, parent unix.Stat_t
	var fsAbove unix.Statfs_t
	if err := errors.Join(unix.Stat(dir, &here), unix.Stat(above, &parent), unix.Statfs(above, &fsAbove)); err != nil {
		return fmt.Errorf("inspect %s: %w", dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list what is left in %s: %w", dir, err)
	}
	foreign := slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return !strings.HasSuffix(e.Name(), ".debug") // each bpffs has maps.debug and progs.debug
	})
	if foreign || fsAbove.Type == unix.SYSFS_MAGIC {
		return nil
	}
	if here.Dev != parent.Dev {
		if err := unix.Unmount(dir, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	if err := os.Remove(dir); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}
