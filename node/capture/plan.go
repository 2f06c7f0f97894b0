package capture

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// The address plan is that of bpf/types.h: 127.64.0.0/10 and
// fd63:756c:7665:7274::/64, with an origin's id as the host part.
const planNet6 = 0xfd63756c76657274

// planRoute is what must be routed locally in a pod with IPv6; all of
// 127.0.0.0/8 is, everywhere.
func planRoute() *net.IPNet {
	ip := make(net.IP, net.IPv6len)
	binary.BigEndian.PutUint64(ip, planNet6)
	return &net.IPNet{IP: ip, Mask: net.CIDRMask(64, 128)}
}

// idOf is the id in a rewritten address. It is at most 22 bits, never 0.
func idOf(a netip.Addr) (uint32, bool) {
	if a.Is4() {
		b := a.As4()
		id := binary.BigEndian.Uint32(b[:]) & maxID
		return id, b[0] == 127 && b[1]&0xc0 == 64 && id != 0
	}
	b := a.As16()
	id := binary.BigEndian.Uint64(b[8:])
	return uint32(id), binary.BigEndian.Uint64(b[:]) == planNet6 && id != 0 && id <= maxID
}
