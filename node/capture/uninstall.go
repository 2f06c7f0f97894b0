package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Uninstall removes every trace: links first, so that nothing is captured any
// more, then routes in the pods that were enrolled, pins, the directory, and
// the bpffs if it was mounted on that directory. Nothing there is no error. A
// process that still has the capture open goes on without effect.
func Uninstall(cfg Config) error {
	if cfg.BPFFS == "" {
		cfg.BPFFS = "/sys/fs/bpf/culvert"
	}
	entries, err := os.ReadDir(cfg.BPFFS)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list pins: %w", err)
	}
	unlock, err := lockDir(cfg.BPFFS)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, layoutPrefix) || strings.HasPrefix(name, asidePrefix) {
			err = errors.Join(err, uninstallDir(filepath.Join(cfg.BPFFS, name)))
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
			errs = append(errs, unroutePath(path))
		}
	}
	return errors.Join(append(errs, it.Err())...)
}

func unroutePath(path string) error {
	netns, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer unix.Close(netns)
	return unroute(netns)
}

// removeBPFFS removes the directory, and the mount if the directory is one.
func removeBPFFS(dir string) error {
	var here, above unix.Stat_t
	if err := errors.Join(unix.Stat(dir, &here), unix.Stat(filepath.Dir(filepath.Clean(dir)), &above)); err != nil {
		return fmt.Errorf("inspect %s: %w", dir, err)
	}
	if here.Dev != above.Dev {
		if err := unix.Unmount(dir, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	if err := os.Remove(dir); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}
