package node

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/node/capture"
)

// oldestKernel is what the hooks need: cgroup/getpeername, sk_storage in
// cgroup/connect, bpf_get_netns_cookie. Maps count towards the memory cgroup
// since 5.11, so no limit of locked memory has to be raised. The kernel's own BTF
// is not needed: no program has CO-RE relocations.
var oldestKernel = [2]int{5, 15}

// checkHost says in one line what is missing, why, and what to do, before the
// kernel says it with a number.
func checkHost(cfg Config) error {
	if err := checkRoot(); err != nil {
		return err
	}
	major, minor, err := kernelVersion()
	if err != nil {
		return err
	}
	if major < oldestKernel[0] || major == oldestKernel[0] && minor < oldestKernel[1] {
		return fmt.Errorf("Linux %d.%d is too old: connections are captured by hooks that need %d.%d or later; upgrade the kernel",
			major, minor, oldestKernel[0], oldestKernel[1])
	}
	if cfg.CgroupRoot != "" {
		return checkCgroup(cfg.CgroupRoot)
	}
	return nil
}

func checkRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("not root: loading eBPF programs and entering pods' network namespaces needs it; run with sudo, or in a privileged pod")
	}
	return nil
}

func checkCgroup(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("--cgroup-root %s: %w; it must be the cgroup2 directory that holds the pods; leave the flag out to have it found", dir, err)
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		return fmt.Errorf("--cgroup-root %s is not on a cgroup2 file system: the hooks attach to cgroup v2 only; mount one (mount -t cgroup2 none DIR) or leave the flag out", dir)
	}
	return nil
}

func kernelVersion() (major, minor int, err error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return 0, 0, fmt.Errorf("read the kernel's version: %w", err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return 0, 0, fmt.Errorf("read the kernel's version %q: %w", release, err)
	}
	return major, minor, nil
}

// explainCapture adds to an error of the kernel side what to do about it.
func explainCapture(err error) error {
	switch {
	case errors.Is(err, capture.ErrLayout):
		return fmt.Errorf("open capture: %w; stop that node, run `culvert node --uninstall` with the same flags (closed services are open from there on), and start again", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("open capture: %w; the process lacks CAP_BPF, CAP_NET_ADMIN or CAP_SYS_ADMIN (a container must be privileged), or kernel lockdown forbids eBPF", err)
	}
	return fmt.Errorf("open capture: %w", err)
}

// wantedFiles is enough descriptors for half a million connections.
const wantedFiles = 1 << 20

// gcPercent lets the heap grow to two and a half times what is live before it is
// collected. A request allocates nothing, so the collector runs rarely whatever
// this is; what it costs is memory: with 10,000 idle connections each held 2.1 to
// 2.4 KB of the process at 300, 1.6 KB at 200 and 1.2 KB at 150, and 2 KB is the
// bound. GOGC and GOMEMLIMIT of the environment, which are Go's own, come first.
const (
	gcPercent   = 150
	goDefaultGC = 100
)

// tune sets what concerns the whole process.
func tune(cfg Config) {
	// One more than the loops: they block in epoll_wait as ordinary system calls.
	runtime.GOMAXPROCS(cfg.Loops + 1)
	if before := debug.SetGCPercent(gcPercent); before != goDefaultGC {
		debug.SetGCPercent(before) // GOGC is set
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		return
	}
	next := unix.Rlimit{Cur: max(now.Max, wantedFiles), Max: max(now.Max, wantedFiles)}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &next); err != nil {
		// Beyond the hard limit takes CAP_SYS_RESOURCE; the hard limit is free.
		next = unix.Rlimit{Cur: now.Max, Max: now.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &next); err != nil {
			cfg.Log.Warn("the limit of open files stays", "limit", now.Cur, "error", err)
		}
	}
}
