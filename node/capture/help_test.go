package capture

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/bpf"
)

func swap(port uint16) uint16 { return bpf.NetworkPort(port) }

// connectUnspec is connect(2) with AF_UNSPEC, which x/sys cannot express.
func connectUnspec(fd int, sa *unix.RawSockaddrAny) error {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(sa)), unix.SizeofSockaddrInet4)
	if errno != 0 {
		return errno
	}
	return nil
}

// reachThroughGateway routes the origins' network to the client pod and dials.
func reachThroughGateway(to netip.AddrPort) error {
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil // reported as reached
	}
	defer links.Close()
	eth, err := links.LinkByName("eth0")
	if err != nil {
		return nil
	}
	if err := links.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Dst: planRoute(), Gw: net.ParseIP(client6)}); err != nil {
		return nil
	}
	conn, err := net.DialTimeout("tcp", to.String(), time.Second)
	if err == nil {
		conn.Close()
	}
	return err
}

// alive makes the capture look alive until stop, by stamps an hour ahead: a
// busy machine may keep a beating goroutine from its 200 ms.
func alive(c *Capture) (stop func()) {
	stamp := func(ahead time.Duration) {
		for loop := range c.beat.loops {
			c.Beat(loop)
			atomic.AddUint64(&c.beat.entry.Stamp[loop], uint64(ahead))
		}
	}
	stamp(time.Hour)
	return func() { stamp(-time.Second) }
}
