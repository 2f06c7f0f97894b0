// Package workload looks at a workload on this node: what its network
// namespace is and which addresses it has. It knows nothing of capture, which
// node gives its answers to, nor of Kubernetes. Any goroutine may call it; a
// look takes a thread of its own for some microseconds.
package workload

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// Netns is a network namespace as it is now.
type Netns struct {
	Cookie    uint64       // the kernel's number of it, never used again on this boot (since 5.14)
	Addresses []netip.Addr // sorted; without loopback and link-local ones
}

// Inspect looks at the namespace file, such as /run/netns/x or /proc/1/ns/net.
func Inspect(path string) (Netns, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Netns{}, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer unix.Close(fd)
	var n Netns
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(home)
			err = unix.Setns(fd, unix.CLONE_NEWNET)
		}
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter network namespace %s: %w", path, err)
			return
		}
		n, err = look()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread() // else the thread ends with this goroutine
		}
		done <- err
	}()
	err = <-done
	return n, err
}

// Inode says which namespace is behind the file at present: its number stays the
// namespace's own for as long as somebody holds that open.
func Inode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("inspect network namespace %s: %w", path, err)
	}
	return st.Ino, nil
}

// look reads the calling thread's own namespace.
func look() (n Netns, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Netns{}, fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(fd)
	if n.Cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err != nil {
		return Netns{}, fmt.Errorf("read namespace cookie: %w", err)
	}
	found, err := net.InterfaceAddrs()
	if err != nil {
		return Netns{}, fmt.Errorf("list addresses: %w", err)
	}
	for _, f := range found {
		ipNet, ok := f.(*net.IPNet)
		if !ok {
			continue
		}
		a, ok := netip.AddrFromSlice(ipNet.IP)
		if a = a.Unmap(); ok && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
			n.Addresses = append(n.Addresses, a)
		}
	}
	slices.SortFunc(n.Addresses, netip.Addr.Compare)
	return n, nil
}
