package upstream

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// errSocket marks faults on our side of a connect.
var errSocket = errors.New("no socket")

// Keepalive finds a node that died while we wait for its answer: TCP_USER_TIMEOUT
// alone looks at unacknowledged bytes only. With it set, the probes' count is
// ignored and the connection ends UserTimeout after the last sign of life.
const (
	keepIdleSeconds     = 10
	keepIntervalSeconds = 5
	keepCount           = 3
)

// dial makes a new connection in the workload's namespace, until by (0: never).
func (l *Lease) dial(workload uint32, by int64) (*reactor.Conn, error) {
	e := l.endpoint
	config := &l.pools.registry.config
	fd, err := config.Dialer.Socket(workload, e.addr.Addr().Is6())
	if err != nil {
		return nil, fmt.Errorf("open socket: %w: %w", errSocket, err)
	}
	if err := prepare(fd, config.Pool.UserTimeout); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("prepare socket: %w: %w", errSocket, err)
	}
	timeout := l.members.table.ConnectTimeout
	if by != 0 {
		timeout = max(1, min(timeout, time.Duration(by-l.pools.loop.Now())))
	}
	c, err := l.pools.loop.Connect(fd, e.addr, timeout)
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", e.addr, err)
	}
	e.connections.Add(1)
	e.connects.Add(1)
	bump(&l.pools.stats.opened)
	return c, nil
}

// prepare sets what every upstream socket has.
func prepare(fd int, userTimeout time.Duration) error {
	for _, o := range [...]struct{ level, name, value int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds())},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepIdleSeconds},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepIntervalSeconds},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepCount},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set option %d: %w", o.name, err)
		}
	}
	return nil
}

// ConnectFault says what an error of Conn means: the outcome for Done
// and the reason for the report. What is wrong on our side, or between this one
// workload and the network, is not held against the endpoint.
func ConnectFault(err error) (Outcome, telemetry.Reason) {
	switch {
	case errors.Is(err, errSocket),
		errors.Is(err, syscall.EADDRNOTAVAIL), // no source port is left
		errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE),
		errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
		return Cancelled, telemetry.SocketFailed
	case errors.Is(err, net.ErrClosed): // the loop is ending
		return Cancelled, telemetry.Draining
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return ConnectFailed, telemetry.ConnectTimeout
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return Cancelled, telemetry.ConnectFailed
	}
	return ConnectFailed, telemetry.ConnectFailed
}
