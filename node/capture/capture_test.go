package capture

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestCapture: what programs do to connect, and what they see.
func TestCapture(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.enrol(c, "a")
	alive(c)
	redirect(t, c, proxied(StanceClosed, vip4, vip6)...)
	vip := map[bool]netip.AddrPort{false: netip.MustParseAddrPort(vip4), true: netip.MustParseAddrPort(vip6)}

	for _, tt := range []struct {
		name  string
		ipv6  bool // the origin
		local string
		dial  func(to netip.AddrPort) (dialed, error)
	}{
		{"IPv4", false, client4, func(to netip.AddrPort) (dialed, error) { return w.dial("tcp4", to.String()) }},
		{"IPv6", true, client6, func(to netip.AddrPort) (dialed, error) { return w.dial("tcp6", to.String()) }},
		{"IPv4 from a bound address", false, client4, w.dialFrom(client4)},
		{"IPv6 from a bound address", true, client6, w.dialFrom(client6)},
		{"IPv4 from any address", false, client4, w.dialFrom("0.0.0.0")},
		{"IPv4, blocking", false, client4, w.dialRaw(unix.AF_INET, 0)},
		{"IPv6 from any address", true, client6, w.dialFrom("::")},
		{"IPv6, blocking", true, client6, w.dialRaw(unix.AF_INET6, 0)},
		{"IPv4, non-blocking", false, client4, w.dialRaw(unix.AF_INET, unix.SOCK_NONBLOCK)},
		{"IPv6, non-blocking", true, client6, w.dialRaw(unix.AF_INET6, unix.SOCK_NONBLOCK)},
		{"IPv4-mapped", false, client4, w.dialRaw(unix.AF_INET6, 0)},
		{"IPv4-mapped, non-blocking", false, client4, w.dialRaw(unix.AF_INET6, unix.SOCK_NONBLOCK)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := counter(t, c, "to_proxy")
			d, err := tt.dial(vip[tt.ipv6])
			must(t, err)
			if want := "proxy a for " + vip[tt.ipv6].String(); d.greeting != want {
				t.Errorf("reached %q, want %q", d.greeting, want)
			}
			if d.remote != vip[tt.ipv6] {
				t.Errorf("getpeername says %s, want %s", d.remote, vip[tt.ipv6])
			}
			if d.local.Addr() != netip.MustParseAddr(tt.local) {
				t.Errorf("getsockname says %s, want %s", d.local, tt.local)
			}
			if n := counter(t, c, "to_proxy"); n != before+1 {
				t.Errorf("counted %d redirects, want 1", n-before)
			}
		})
	}
}

// TestStrictPod: reverse path filtering does not mind a pod's own address on
// lo, nor does it take route_localnet: packets on lo keep the route that they
// were sent by.
func TestStrictPod(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.enrol(c, "a")
	alive(c)
	redirect(t, c, proxied(StanceClosed, vip4)...)
	must(t, w.in(w.client, func() error {
		for _, set := range []string{"all/rp_filter=1", "lo/rp_filter=1", "all/route_localnet=0", "all/log_martians=1"} {
			name, value, _ := strings.Cut(set, "=")
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+name, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	}))
	d, err := w.dialFrom(client4)(netip.MustParseAddrPort(vip4))
	if d.greeting != "proxy a for "+vip4 {
		t.Errorf("reached %q, %v", d.greeting, err)
	}
}

// TestEnrolRefuses what would go wrong later.
func TestEnrolRefuses(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.enrol(c, "a")
	down := makeNetns(t)
	must(t, w.in(down, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(lo)
	}))
	for name, bad := range map[string]Workload{
		"the same id":          {ID: 7, NetnsPath: w.server},
		"the same namespace":   {ID: 8, NetnsPath: w.client},
		"the node's namespace": {ID: 8, NetnsPath: "/proc/self/ns/net"},
		"not a namespace":      {ID: 8, NetnsPath: "/proc/self/status"},
		"nothing":              {ID: 8, NetnsPath: "/nowhere"},
		"lo is down":           {ID: 8, NetnsPath: down},
	} {
		if _, err := c.Enrol(bad); err == nil {
			t.Errorf("%s was enrolled", name)
		}
	}
	pod, err := c.Enrol(Workload{ID: 8, NetnsPath: w.server})
	must(t, err)
	if len(pod.Listeners) != 1 {
		t.Errorf("%d listeners without an IPv6 address, want 1", len(pod.Listeners))
	}
	for _, fd := range pod.Listeners {
		unix.Close(fd)
	}
}

func (w *world) dialFrom(local string) func(netip.AddrPort) (dialed, error) {
	return func(to netip.AddrPort) (d dialed, err error) {
		err = w.app(func() error {
			dialer := net.Dialer{Timeout: 3 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
			c, err := dialer.Dial("tcp", to.String())
			if err != nil {
				return err
			}
			defer c.Close()
			d, err = look(c)
			return err
		})
		return d, err
	}
}

// dialRaw makes the system calls itself; an IPv4 address on AF_INET6 is mapped.
func (w *world) dialRaw(family, flags int) func(netip.AddrPort) (dialed, error) {
	return func(to netip.AddrPort) (d dialed, err error) {
		err = w.app(func() error {
			fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
			if err != nil {
				return err
			}
			err = unix.Connect(fd, sockaddr(family, to))
			if flags&unix.SOCK_NONBLOCK != 0 && err == unix.EINPROGRESS {
				_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 3000)
			}
			if err != nil {
				unix.Close(fd)
				return err
			}
			f := os.NewFile(uintptr(fd), "socket")
			defer f.Close()
			c, err := net.FileConn(f)
			if err != nil {
				return err
			}
			defer c.Close()
			d, err = look(c)
			d.local = netip.AddrPortFrom(d.local.Addr().Unmap(), d.local.Port())
			d.remote = netip.AddrPortFrom(d.remote.Addr().Unmap(), d.remote.Port())
			return err
		})
		return d, err
	}
}

func sockaddr(family int, a netip.AddrPort) unix.Sockaddr {
	if family == unix.AF_INET {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// TestReconnect: a socket that is used again shows the peer that it has now.
func TestReconnect(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.enrol(c, "a")
	alive(c)
	redirect(t, c, proxied(StanceClosed, vip4, vip6)...)
	for _, tt := range []struct {
		family                int
		vip, direct, showsOwn string
	}{
		{unix.AF_INET, vip4, server4 + ":0", client4},
		{unix.AF_INET6, vip6, "[" + server6 + "]:0", client6},
	} {
		direct := w.serve(tt.direct, "x")
		must(t, w.app(func() error {
			fd, err := unix.Socket(tt.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.Connect(fd, sockaddr(tt.family, netip.MustParseAddrPort(tt.vip))); err != nil {
				return err
			}
			// connect(2): AF_UNSPEC dissolves the association.
			unspec := unix.RawSockaddrAny{}
			if err := connectUnspec(fd, &unspec); err != nil {
				return fmt.Errorf("dissolve: %w", err)
			}
			if err := unix.Connect(fd, sockaddr(tt.family, direct)); err != nil {
				return err
			}
			peer, err := unix.Getpeername(fd)
			if err != nil || addrPort(peer) != direct {
				return fmt.Errorf("getpeername says %s, %v, want %s", addrPort(peer), err, direct)
			}
			local, err := unix.Getsockname(fd)
			if err != nil || addrPort(local).Addr() != netip.MustParseAddr(tt.showsOwn) {
				return fmt.Errorf("getsockname says %s, %v, want %s", addrPort(local), err, tt.showsOwn)
			}
			return nil
		}))
	}
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// TestNotReachableFromOutside: the listeners are the pod's own business.
func TestNotReachableFromOutside(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.enrol(c, "a")
	alive(c)
	redirect(t, c, proxied(StanceOpen, vip4, vip6)...)
	p := (*c.pods.Load())[7]
	for _, to := range []netip.AddrPort{
		netip.AddrPortFrom(netip.MustParseAddr(client4), swap(p.value.Port4)),
		netip.AddrPortFrom(netip.MustParseAddr(client6), swap(p.value.Port6)),
	} {
		err := w.in(w.server, func() error {
			conn, err := net.DialTimeout("tcp", to.String(), 2*time.Second)
			if err == nil {
				conn.Close()
			}
			return err
		})
		if !refused(err) {
			t.Errorf("dial %s from outside: %v, want refused", to, err)
		}
	}
	// On the same wire, a neighbour may route the origins' network to the pod.
	err := w.in(w.server, func() error {
		return reachThroughGateway(netip.AddrPortFrom(netip.MustParseAddr("fd63:756c:7665:7274::1"), swap(p.value.Port6)))
	})
	if err == nil {
		t.Error("a neighbour reached an origin's address in the pod")
	}
}

// TestMPTCP: an application that asks for MPTCP is captured too: the kernel
// shows the hook the first subflow, which is TCP.
func TestMPTCP(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.enrol(c, "a")
	alive(c)
	redirect(t, c, proxied(StanceClosed, vip4, vip6)...)
	for family, vip := range map[int]string{unix.AF_INET: vip4, unix.AF_INET6: vip6} {
		must(t, w.app(func() error {
			fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
			if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ENOPROTOOPT) {
				return nil // a kernel without it
			}
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.Connect(fd, sockaddr(family, netip.MustParseAddrPort(vip))); err != nil {
				return err
			}
			buf := make([]byte, 64)
			n, err := unix.Read(fd, buf)
			if n < 0 || strings.TrimSpace(string(buf[:n])) != "proxy a for "+vip {
				return fmt.Errorf("reached %q, %v", buf[:max(n, 0)], err)
			}
			return nil
		}))
	}
}
