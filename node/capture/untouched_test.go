package capture

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUntouched: everything that is not an enrolled pod's TCP connection to an
// origin goes where it went before.
func TestUntouched(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	alive(c)
	w.own("10.96.0.10/32", "fd00:96::10/128")
	w.serve(vip4, "4")
	w.serve(vip6, "6")
	w.serve(server4+":81", "other port")
	w.serve("["+server6+"]:81", "other port 6")
	redirect(t, c, proxied(StanceClosed, vip4, vip6)...)

	check := func(name, network, to, want, reason string) {
		t.Helper()
		before := counter(t, c, reason)
		d, err := w.dial(network, to)
		if err != nil || d.greeting != want || d.remote != netip.MustParseAddrPort(to) {
			t.Errorf("%s: reached %q at %s (%v), want %q", name, d.greeting, d.remote, err, want)
		}
		if n := counter(t, c, reason) - before; n != 1 {
			t.Errorf("%s: counted %s %d times, want 1", name, reason, n)
		}
	}
	check("not enrolled, IPv4", "tcp4", vip4, "direct 4", "not_enrolled")
	check("not enrolled, IPv6", "tcp6", vip6, "direct 6", "not_enrolled")
	w.enrol(c, "a")
	check("unknown origin", "tcp4", server4+":81", "direct other port", "unknown_origin")
	check("unknown origin, IPv6", "tcp6", "["+server6+"]:81", "direct other port 6", "unknown_origin")

	redirect(t, c)
	check("released", "tcp4", vip4, "direct 4", "unknown_origin")
	check("released, IPv6", "tcp6", vip6, "direct 6", "unknown_origin")
	redirect(t, c, proxied(StanceClosed, vip4, vip6)...)
	check("redirected again", "tcp4", vip4, "proxy a for "+vip4, "to_proxy")

	before := counter(t, c, "bound_device")
	for to, want := range map[string]string{vip4: "direct 4", vip6: "direct 6"} {
		d, err := w.dialBoundToDevice(to)
		if d.greeting != want {
			t.Errorf("bound to a device: reached %q, %v, want %q", d.greeting, err, want)
		}
	}
	if counter(t, c, "bound_device") != before+2 {
		t.Error("a connect from a socket that is bound to a device was not counted")
	}
	must(t, c.Expel(7))
	check("expelled", "tcp4", vip4, "direct 4", "not_enrolled")
	w.enrolAs(c, 8, "a again") // before the first has left
	check("enrolled again", "tcp6", vip6, "proxy a again for "+vip6, "to_proxy")
	must(t, c.Leave(7))
	check("the first has left", "tcp6", vip6, "proxy a again for "+vip6, "to_proxy")
	must(t, c.Leave(8))
	check("both have left", "tcp6", vip6, "direct 6", "not_enrolled")
	if err := c.Admit(7); !errors.Is(err, ErrNotEnrolled) {
		t.Errorf("admit after leave: %v", err)
	}
}

func (w *world) dialBoundToDevice(to string) (d dialed, err error) {
	err = w.app(func() error {
		dialer := net.Dialer{Timeout: 3 * time.Second}
		dialer.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			return errors.Join(raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "eth0") }), err)
		}
		conn, err := dialer.Dial("tcp", to)
		if err != nil {
			return err
		}
		defer conn.Close()
		d, err = look(conn)
		return err
	})
	return d, err
}

func TestUDPUntouched(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.enrol(c, "a")
	alive(c)
	w.own("10.96.0.10/32", "fd00:96::10/128")
	redirect(t, c, proxied(StanceClosed, vip4, vip6)...)
	for vip, source := range map[string]string{vip4: client4, vip6: client6} {
		before := counter(t, c, "not_tcp")
		var server net.PacketConn
		must(t, w.in(w.server, func() (err error) {
			server, err = net.ListenPacket("udp", vip)
			return err
		}))
		defer server.Close()
		must(t, w.app(func() error {
			conn, err := net.Dial("udp", vip)
			if err != nil {
				return err
			}
			defer conn.Close()
			if conn.RemoteAddr().String() != vip {
				return fmt.Errorf("connected to %s", conn.RemoteAddr())
			}
			_, err = conn.Write([]byte("hello"))
			return err
		}))
		server.SetReadDeadline(time.Now().Add(3 * time.Second))
		buf := make([]byte, 16)
		n, from, err := server.ReadFrom(buf)
		if err != nil || string(buf[:n]) != "hello" || from.(*net.UDPAddr).AddrPort().Addr().Unmap() != netip.MustParseAddr(source) {
			t.Errorf("%s: got %q from %v, %v", vip, buf[:n], from, err)
		}
		if counter(t, c, "not_tcp") == before {
			t.Errorf("%s: not counted", vip)
		}
	}
}
