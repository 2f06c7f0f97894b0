package capture

import (
	"net/netip"
	"testing"
)

func TestCapture(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.enrol(c, "a")
	beating(t, c)
	redirect(t, c, proxied(StanceClosed, vip4, vip6)...)

	for _, tt := range []struct {
		name, network, to, origin, local string
	}{
		{"IPv4", "tcp4", vip4, vip4, client4},
		{"IPv6", "tcp6", vip6, vip6, client6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := w.dial(tt.network, tt.to)
			must(t, err)
			if want := "proxy a for " + tt.origin; d.greeting != want {
				t.Errorf("reached %q, want %q", d.greeting, want)
			}
			if d.remote != netip.MustParseAddrPort(tt.origin) {
				t.Errorf("getpeername says %s, want %s", d.remote, tt.origin)
			}
			if d.local.Addr() != netip.MustParseAddr(tt.local) {
				t.Errorf("getsockname says %s, want %s", d.local, tt.local)
			}
		})
	}
	if n := counter(t, c, "to_proxy"); n != 2 {
		t.Errorf("counted %d redirects, want 2", n)
	}
}
