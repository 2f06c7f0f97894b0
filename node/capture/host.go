package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ensureBPFFS makes dir, on a bpffs. Where none is mounted, one is: on dir
// itself, or, when dir is below sysfs, where no directory can be made, on the
// deepest one that exists (/sys/fs/bpf).
func ensureBPFFS(dir string) error {
	deepest := filepath.Clean(dir)
	var st unix.Statfs_t
	for {
		err := unix.Statfs(deepest, &st)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || deepest == filepath.Dir(deepest) {
			return fmt.Errorf("inspect %s: %w", deepest, err)
		}
		deepest = filepath.Dir(deepest)
	}
	at := dir
	if st.Type == unix.SYSFS_MAGIC {
		at = deepest
	}
	if st.Type != unix.BPF_FS_MAGIC {
		if err := os.MkdirAll(at, 0o700); err != nil {
			return fmt.Errorf("make directory for bpffs: %w", err)
		}
		if err := unix.Mount("bpffs", at, "bpf", 0, "mode=0700"); err != nil {
			return fmt.Errorf("mount bpffs on %s: %w", at, err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory for pins: %w", err)
	}
	return nil
}

// detectCgroup finds the cgroup that holds the pods: kubelet's, under either
// of its drivers' names, else the whole cgroup2 tree, wherever it is mounted
// (hybrid systems: /sys/fs/cgroup/unified).
func detectCgroup(mountinfo string) (string, error) {
	f, err := os.Open(mountinfo)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// proc(5): the fields after " - " are type, source, options.
		fields, rest, _ := strings.Cut(lines.Text(), " - ")
		if kind, _, _ := strings.Cut(rest, " "); kind != "cgroup2" {
			continue
		}
		mount := mountPoint(fields)
		for _, name := range []string{"kubepods.slice", "kubepods"} {
			if st, err := os.Stat(filepath.Join(mount, name)); err == nil && st.IsDir() {
				return filepath.Join(mount, name), nil
			}
		}
		return mount, nil
	}
	return "", errors.New("find cgroup: no cgroup2 file system is mounted, and the hooks attach to cgroup v2 only; mount one (mount -t cgroup2 none DIR)")
}

// mountPoint is the fifth field of a mountinfo line, with its octal escapes undone.
func mountPoint(line string) string {
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return ""
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
}
