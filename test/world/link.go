package world

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const bridgeName = "br0"

// The world's addresses live inside its namespaces only, so every world uses
// the same ones.
func podPrefix4() netip.Prefix     { return netip.MustParsePrefix("10.10.0.0/16") }
func podPrefix6() netip.Prefix     { return netip.MustParsePrefix("fd00:10::/64") }
func servicePrefix4() netip.Prefix { return netip.MustParsePrefix("10.96.0.0/16") }
func servicePrefix6() netip.Prefix { return netip.MustParsePrefix("fd00:96::/112") }

// buildBridge runs in the node's namespace: the bridge carries the first
// address of the pod networks, and the node forwards nothing.
func buildBridge() error {
	if err := linkUp("lo"); err != nil {
		return err
	}
	if err := setSysctl("ipv4/ip_forward", "0"); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("add bridge: %w", err)
	}
	if err := linkUp(bridgeName); err != nil {
		return err
	}
	return addAddresses(bridgeName, 1)
}

// attachToBridge runs in the node's namespace: a veth pair, one end in the
// bridge, the other is eth0 of the pod. The hardware address goes with the IP
// addresses, so that nobody has to forget the one of a pod that was there before.
func attachToBridge(serial, index int, podNetns string) error {
	bridge, err := netlink.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("find bridge: %w", err)
	}
	ns, err := os.Open(podNetns)
	if err != nil {
		return fmt.Errorf("open the pod's namespace: %w", err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = vethName(serial)
	attrs.MasterIndex = bridge.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns.Fd()),
		PeerHardwareAddr: net.HardwareAddr{0x02, 0, 0, 0, byte(index >> 8), byte(index)}}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth: %w", err)
	}
	return linkUp(attrs.Name)
}

func vethName(serial int) string { return fmt.Sprintf("pod%d", serial) }

// detachFromBridge runs in the node's namespace, and takes the pod's eth0 away.
func detachFromBridge(serial int) error {
	veth, err := netlink.LinkByName(vethName(serial))
	if err == nil {
		err = netlink.LinkDel(veth)
	}
	if err != nil {
		return fmt.Errorf("remove veth: %w", err)
	}
	return nil
}

// configurePod runs in the pod's namespace.
func configurePod(index int, kubeProxy bool) error {
	for _, name := range []string{"lo", "eth0"} {
		if err := linkUp(name); err != nil {
			return err
		}
	}
	if err := addAddresses("eth0", index); err != nil {
		return err
	}
	routes := []netlink.Route{
		{Dst: ipNet(netip.MustParsePrefix("0.0.0.0/0")), Gw: address(podPrefix4(), 1).AsSlice()},
		{Dst: ipNet(netip.MustParsePrefix("::/0")), Gw: address(podPrefix6(), 1).AsSlice()},
	}
	if !kubeProxy {
		// A VIP that nobody captures answers at once instead of timing out.
		routes = append(routes,
			netlink.Route{Dst: ipNet(servicePrefix4()), Type: unix.RTN_UNREACHABLE},
			netlink.Route{Dst: ipNet(servicePrefix6()), Type: unix.RTN_UNREACHABLE})
	}
	for _, r := range routes {
		if err := netlink.RouteAdd(&r); err != nil {
			return fmt.Errorf("add route to %v: %w", r.Dst, err)
		}
	}
	return nil
}

func linkUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}

// addAddresses gives a link the n-th address of both pod networks, without
// duplicate address detection: an address is usable when the call returns.
func addAddresses(name string, n int) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	for _, prefix := range []netip.Prefix{podPrefix4(), podPrefix6()} {
		own := netip.PrefixFrom(address(prefix, n), prefix.Bits())
		a := &netlink.Addr{IPNet: ipNet(own)}
		if own.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(link, a); err != nil {
			return fmt.Errorf("add address %v: %w", own, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
