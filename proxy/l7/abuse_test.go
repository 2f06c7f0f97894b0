package l7_test

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/proxy/l7"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/test/abuse"
)

// TestAbuse plays the catalogue of framing attacks.
func TestAbuse(t *testing.T) {
	w := newWorld(t, l7.Limits{})
	up, front := listen(t), listen(t)
	w.apply(nil, at(backend, up.Addr().(*net.TCPAddr).AddrPort()))
	abuse.Run(t, abuse.Config{Upstream: up, Dial: func() (net.Conn, error) {
		client, err := net.Dial("tcp", front.Addr().String())
		if err != nil {
			return nil, err
		}
		w.begin(acceptFD(t, front))
		return client, nil
	}})
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// acceptFD is the descriptor of the next connection, as the proxy's own listener
// would give it.
func acceptFD(t *testing.T, l net.Listener) int {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	if err := raw.Control(func(from uintptr) { fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || fd < 0 {
		t.Fatal(err)
	}
	return fd // non-blocking, as Go's sockets are
}

// begin starts a session on an accepted socket.
func (w *world) begin(fd int) {
	w.t.Helper()
	var conn *reactor.Conn
	w.reactor.Do(0, func() {
		var err error
		if conn, err = w.reactor.Loop(0).Adopt(fd, netip.AddrPort{}); err != nil {
			w.t.Error(err)
		}
	})
	o := &owner{w: w, conn: conn, ended: make(chan telemetry.Reason, 1)}
	o.report = telemetry.ConnReport{
		Source: &w.source, Origin: vip(), HTTP: true, Service: w.tables.Load().Snapshot.Services[0],
	}
	w.reactor.Go(0, func() {
		w.metrics.Recorder(0).ConnOpened(&o.report)
		o.session.Begin(w.engine, conn, o, &o.report, nil)
	})
}
