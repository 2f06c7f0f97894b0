package upstream_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

func TestConnectFaults(t *testing.T) {
	closed := proxytest.Listen(t)
	closed.Close()
	full := fullServer(t)
	for name, c := range map[string]struct {
		at      netip.AddrPort
		outcome upstream.Outcome
		reason  telemetry.Reason
	}{
		"refused": {closed.Addr(), upstream.ConnectFailed, telemetry.ConnectFailed},
		"silent":  {full, upstream.ConnectFailed, telemetry.ConnectTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, none, c.at)
			done := w.Go(0, func() {
				l, _ := w.backend().Acquire(w.pools[0], nil)
				_, _, err := l.Conn(7, false)
				outcome, reason := upstream.ConnectFault(err)
				if outcome != c.outcome || reason != c.reason {
					t.Errorf("%v: %v, %s", err, outcome, reason)
				}
				l.Done(outcome)
			})
			w.Settle()
			w.Advance(table.DefaultConnectTimeout + time.Millisecond)
			<-done
			if e := w.endpoint(c.at); e.Connections != 0 || e.Failures != 1 || e.InFlight != 0 {
				t.Errorf("%+v", e)
			}
		})
	}
}

// fullServer is an address that answers no connect: its queue is full.
func fullServer(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = unix.Listen(fd, 0)
	}
	name, nameErr := unix.Getsockname(fd)
	if err = errors.Join(err, nameErr); err != nil {
		t.Fatal(err)
	}
	for range 3 { // backlog 0 holds one, or two: the rest is never answered
		c, err := proxytest.Sockets{}.Socket(0, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(c) })
		if err := unix.Connect(c, name); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port))
}

func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 on loopback: %v", err)
	}
	defer l.Close()
	w := newWorld(t, 1, none, l.Addr().(*net.TCPAddr).AddrPort())
	if w.exchange(0, 7) || !w.exchange(0, 7) {
		t.Fatal("no connection was kept")
	}
}

type noSocket struct{}

func (noSocket) Socket(uint32, bool) (int, error) { return -1, syscall.EMFILE }

// What is wrong on our side is not held against the endpoint.
func TestLocalFault(t *testing.T) {
	w := newWorld(t, 1, none, address(1))
	r := upstream.NewRegistry(upstream.Config{Loops: 1, Dialer: noSocket{}})
	p := r.NewPools(w.Loop(0))
	backend := r.Apply(w.snapshot).Backend(w.snapshot.Backends[0])
	w.Run(0, func() {
		for range 10 {
			l, _ := backend.Acquire(p, nil)
			_, _, err := l.Conn(7, false)
			outcome, reason := upstream.ConnectFault(err)
			if outcome != upstream.Cancelled || reason != telemetry.SocketFailed {
				t.Errorf("%v: %v, %s", err, outcome, reason)
			}
			l.Done(outcome)
		}
	})
	if e := r.Dump()[0].List[0]; e.Health != "closed" || e.Failures != 0 {
		t.Errorf("%+v", e)
	}
}

func TestSocketOptions(t *testing.T) {
	server := proxytest.Listen(t)
	w := newWorld(t, 1, none, server.Addr())
	w.Run(0, func() {
		l, _ := w.backend().Acquire(w.pools[0], nil)
		defer l.Done(upstream.OK)
		c, _, err := l.Conn(7, false)
		if err != nil {
			t.Error(err)
			return
		}
		defer l.Drop(c)
		for _, o := range []struct{ level, name, want int }{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 20_000},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 10},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 5},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.SOL_SOCKET, unix.SO_PROTOCOL, unix.IPPROTO_TCP},
		} {
			if got, err := unix.GetsockoptInt(c.RawFD(), o.level, o.name); err != nil || got != o.want {
				t.Errorf("option %d is %d, not %d (%v)", o.name, got, o.want, err)
			}
		}
	})
}
