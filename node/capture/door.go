package capture

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

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

// openDoor makes it. addrs are the pod's own IPv6 addresses; without any, only
// IPv4 gets a listener. Routes come first: an address without a way would leave
// by the pod's default route. On error they go again, unless the namespace is
// shared: whoever has it already uses them.
func openDoor(netns int, addrs []netip.Addr, shared bool) (d door, err error) {
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
		if err := d.listen(unix.AF_INET); err != nil || len(addrs) == 0 {
			return err
		}
		err = addRoutes(links, lo, addrs)
		if err == nil {
			err = d.listen(unix.AF_INET6)
		}
		if err != nil && !shared {
			err = errors.Join(err, removeRoutes(links, nil))
		}
		return err
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

// routeProtocol marks our routes in a pod (rtnetlink(7): values that nobody
// else registered), so that all of them can be found again and removed.
const routeProtocol = 203

// destinations is what must be local in the pod: the origins' network, and the
// pod's own addresses, because a listener that is bound to lo answers by routes
// of lo only, and IPv6, unlike IPv4, takes nothing there to be on link.
func destinations(addrs []netip.Addr) []*net.IPNet {
	if len(addrs) == 0 {
		return nil
	}
	dsts := []*net.IPNet{planRoute()}
	for _, a := range addrs {
		dsts = append(dsts, &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(128, 128)})
	}
	return dsts
}

// routes sends the destinations to lo.
func routes(lo int, addrs []netip.Addr) []netlink.Route {
	var all []netlink.Route
	for _, dst := range destinations(addrs) {
		all = append(all, netlink.Route{
			LinkIndex: lo,
			Dst:       dst,
			Table:     unix.RT_TABLE_LOCAL,
			Type:      unix.RTN_LOCAL,
			Protocol:  routeProtocol,
			Priority:  2048, // behind the kernel's own routes to the same addresses
		})
	}
	return all
}

func addRoutes(links *netlink.Handle, lo int, addrs []netip.Addr) error {
	for _, r := range routes(lo, addrs) {
		if err := links.RouteReplace(&r); err != nil {
			return fmt.Errorf("route %s: %w", r.Dst, err)
		}
	}
	return nil
}

// removeRoutes removes all of ours but those to keep.
func removeRoutes(links *netlink.Handle, keep []netip.Addr) error {
	kept := map[string]bool{}
	for _, dst := range destinations(keep) {
		kept[dst.String()] = true
	}
	ours := &netlink.Route{Protocol: routeProtocol, Table: unix.RT_TABLE_LOCAL}
	found, err := links.RouteListFiltered(netlink.FAMILY_V6, ours, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range found {
		if kept[r.Dst.String()] {
			continue
		}
		if err := links.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route %s: %w", r.Dst, err)
		}
	}
	return nil
}

// unroute removes our routes from the pod, but those to the addresses in keep.
func unroute(netns int, keep []netip.Addr) error {
	return inNetns(netns, func() error {
		links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer links.Close()
		return removeRoutes(links, keep)
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
