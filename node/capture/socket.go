package capture

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Socket makes a non-blocking TCP socket in the workload's namespace, that the
// hook never captures. It is for the proxy's loops, called on whatever thread
// they are on: four short system calls, no allocation, no other goroutine.
func (c *Capture) Socket(workload uint32, ipv6 bool) (int, error) {
	p := (*c.pods.Load())[workload]
	if p == nil {
		return -1, ErrNotEnrolled
	}
	family := unix.AF_INET
	if ipv6 {
		family = unix.AF_INET6
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.netns < 0 {
		return -1, ErrNotEnrolled
	}
	fd, err := socketIn(p.netns, c.home, family)
	if err != nil {
		return -1, err
	}
	if err := c.objects.Exempt(fd); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("exempt socket from capture: %w", err)
	}
	return fd, nil
}

// socketIn goes to the namespace and back on the calling thread. It is locked
// meanwhile, so the runtime neither runs another goroutine on it nor clones a
// new thread from it (it clones from a template thread instead). A raw call:
// the scheduler need not know about a microsecond.
func socketIn(netns, home, family int) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, _, errno := unix.RawSyscall(unix.SYS_SETNS, uintptr(netns), unix.CLONE_NEWNET, 0); errno != 0 {
		return -1, fmt.Errorf("enter network namespace: %w", errno)
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	returnHome(home)
	if errno != 0 {
		return -1, fmt.Errorf("make socket: %w", errno)
	}
	return int(fd), nil
}

// returnHome retries what may pass (no memory), then ends the process. Going
// on would open the next socket in a stranger's namespace, and the caller is a
// loop, whose thread cannot be given up alone. Each origin's stance applies,
// and the next process takes over.
func returnHome(home int) {
	var errno unix.Errno
	for range 100 {
		if _, _, errno = unix.RawSyscall(unix.SYS_SETNS, uintptr(home), unix.CLONE_NEWNET, 0); errno == 0 {
			return
		}
		unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}
	fmt.Fprintf(os.Stderr, "capture: thread cannot leave a pod's network namespace: %v\n", errno)
	os.Exit(70) // EX_SOFTWARE
}
