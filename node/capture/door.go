package capture

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// backlog is the most that a listener may ask for; the namespace's own
// net.core.somaxconn is the limit.
const backlog = 65535

// door is the way from a pod's loopback to this process.
type door struct {
	port4, port6 uint16
	listeners    []int
}

// openDoor makes it. The route comes first: an address without a way would
// leave by the pod's default route.
func openDoor(netns int, ipv6 bool) (d door, err error) {
	err = inNetns(netns, func() error {
		links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer links.Close()
		lo, err := loopback(links)
		if err != nil {
			return err
		}
		if err := d.listen(unix.AF_INET); err != nil || !ipv6 {
			return err
		}
		if err := links.RouteReplace(route(lo)); err != nil {
			return fmt.Errorf("route origins: %w", err)
		}
		if err := d.listen(unix.AF_INET6); err != nil {
			return errors.Join(err, links.RouteDel(route(lo)))
		}
		return nil
	})
	if err != nil {
		for _, fd := range d.listeners {
			unix.Close(fd)
		}
	}
	return d, err
}

// loopback is the index of lo, which must be up: a redirect to it would hang otherwise.
func loopback(links *netlink.Handle) (int, error) {
	lo, err := links.LinkByName("lo")
	if err != nil {
		return 0, fmt.Errorf("find lo: %w", err)
	}
	if lo.Attrs().Flags&net.FlagUp == 0 {
		return 0, errors.New("lo is down in the namespace")
	}
	return lo.Attrs().Index, nil
}

func route(lo int) *netlink.Route {
	return &netlink.Route{
		LinkIndex: lo,
		Dst:       planRoute(),
		Table:     unix.RT_TABLE_LOCAL,
		Type:      unix.RTN_LOCAL,
		Scope:     unix.RT_SCOPE_HOST,
	}
}

// unroute removes the IPv6 route from the pod, if it is there.
func unroute(netns int) error {
	return inNetns(netns, func() error {
		links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer links.Close()
		lo, err := links.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find lo: %w", err)
		}
		if err := links.RouteDel(route(lo.Attrs().Index)); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route of origins: %w", err)
		}
		return nil
	})
}

// listen adds a listener on all addresses of the family, in the thread's own
// namespace. Bound to lo, so the pod's other addresses refuse. Plain TCP, as
// net.Listen's MPTCP loses socket options; no SO_REUSEPORT, so that nobody in
// the pod can share it.
func (d *door) listen(family int) error {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return fmt.Errorf("make listener: %w", err)
	}
	d.listeners = append(d.listeners, fd)
	if err := unix.BindToDevice(fd, "lo"); err != nil {
		return fmt.Errorf("bind listener to lo: %w", err)
	}
	var any unix.Sockaddr = &unix.SockaddrInet4{}
	if family == unix.AF_INET6 {
		any = &unix.SockaddrInet6{}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return fmt.Errorf("restrict listener to IPv6: %w", err)
		}
	}
	if err := unix.Bind(fd, any); err != nil {
		return fmt.Errorf("bind listener: %w", err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("read listener's port: %w", err)
	}
	switch a := local.(type) {
	case *unix.SockaddrInet4:
		d.port4 = uint16(a.Port)
	case *unix.SockaddrInet6:
		d.port6 = uint16(a.Port)
	}
	return nil
}
