package workload

import (
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestInspect(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("root is needed for namespaces, and CI must have it")
		}
		t.Skip("needs root for namespaces")
	}
	want := []netip.Addr{netip.MustParseAddr("10.98.0.1"), netip.MustParseAddr("fd00:98::1")}
	paths := [2]string{makeNetns(t, want), makeNetns(t, nil)}
	first, err := Inspect(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(first.Addresses, want) {
		t.Errorf("addresses are %v, want %v", first.Addresses, want)
	}
	second, err := Inspect(paths[1])
	if err != nil {
		t.Fatal(err)
	}
	again, err := Inspect(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	if first.Cookie == 0 || first.Cookie == second.Cookie || first.Cookie != again.Cookie {
		t.Errorf("cookies are %d, %d and again %d", first.Cookie, second.Cookie, again.Cookie)
	}
	if len(second.Addresses) != 0 {
		t.Errorf("a namespace with loopback only has %v", second.Addresses)
	}
	inodes := map[uint64]bool{}
	for _, path := range []string{paths[0], paths[1], paths[0]} {
		inode, err := Inode(path)
		if err != nil {
			t.Error(err)
		}
		inodes[inode] = true
	}
	if len(inodes) != 2 {
		t.Errorf("two namespaces have inodes %v", inodes)
	}
	for _, bad := range []string{filepath.Join(t.TempDir(), "none"), "/proc/self/ns/mnt"} {
		if _, err := Inspect(bad); err == nil {
			t.Errorf("%s was inspected", bad)
		}
	}
}

// makeNetns makes a namespace with addrs on a veth, and mounts it on a file.
func makeNetns(t *testing.T, addrs []netip.Addr) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread stays in the namespace
		done <- fill(file, addrs)
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(file, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return file
}

func fill(file string, addrs []netip.Addr) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	if err := unix.Mount("/proc/thread-self/ns/net", file, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer links.Close()
	eth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth1"}
	if err := links.LinkAdd(eth); err != nil {
		return err
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(netip.PrefixFrom(a, a.BitLen()).String())
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := links.AddrAdd(eth, addr); err != nil {
			return err
		}
	}
	for _, name := range []string{"lo", "eth0", "eth1"} {
		link, err := links.LinkByName(name)
		if err != nil {
			return err
		}
		if err := links.LinkSetUp(link); err != nil {
			return err
		}
	}
	return nil
}
