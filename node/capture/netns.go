package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// inNetns runs f in the namespace, on a thread of its own. If the thread
// cannot go home it dies with its goroutine, which stays locked to it.
func inNetns(netns int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- fmt.Errorf("open own network namespace: %w", err)
			runtime.UnlockOSThread()
			return
		}
		defer unix.Close(home)
		if err := unix.Setns(netns, unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			runtime.UnlockOSThread()
			return
		}
		err = f()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// netnsCookie is the namespace's number in the workloads map (since 5.14). It
// is never used again on this boot, unlike the inode number.
func netnsCookie(netns int) (cookie uint64, err error) {
	err = inNetns(netns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("make socket: %w", err)
		}
		defer unix.Close(fd)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		if err != nil {
			return fmt.Errorf("read namespace cookie: %w", err)
		}
		return nil
	})
	return cookie, err
}

// livingNetns finds the namespaces of this machine that have a process or a
// mount, as far as this process's /proc shows them: cookie to path.
func livingNetns() (map[uint64]string, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, err
	}
	mounts, err := nsfsMounts("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	byInode := map[uint64]bool{}
	byCookie := map[uint64]string{}
	for _, path := range append(mounts, paths...) {
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || byInode[st.Ino] {
			continue // the process has ended, or its namespace is known
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		// A process that ends between the two calls: proc_ns_get_link says EACCES.
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", path, err)
		}
		byInode[st.Ino] = true
		cookie, err := netnsCookie(fd)
		unix.Close(fd)
		if errors.Is(err, unix.EINVAL) {
			continue // a mounted namespace of another kind
		}
		if err != nil {
			return nil, fmt.Errorf("inspect %s: %w", path, err)
		}
		byCookie[cookie] = path
	}
	return byCookie, nil
}

// nsfsMounts is where namespaces are mounted (ip-netns(8), container runtimes).
func nsfsMounts(mountinfo string) ([]string, error) {
	f, err := os.Open(mountinfo)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var paths []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields, rest, _ := strings.Cut(lines.Text(), " - ")
		if strings.HasPrefix(rest, "nsfs ") {
			paths = append(paths, mountPoint(fields))
		}
	}
	return paths, lines.Err()
}
