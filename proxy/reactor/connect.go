package reactor

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// Connect connects fd, an unconnected non-blocking socket, and adopts it; on error fd is closed.
// It returns os.ErrDeadlineExceeded after timeout (<= 0: none but the kernel's), net.ErrClosed
// when the loop is ending, else the socket's errno. In a coroutine.
func (l *Loop) Connect(fd int, to netip.AddrPort, timeout time.Duration) (*Conn, error) {
	co := l.mustCurrent()
	e := connect(fd, to)
	if e != 0 && e != syscall.EINPROGRESS {
		closeFD(fd)
		return nil, e
	}
	// Only now: epoll reports an unconnected socket as hung up.
	c, err := l.Adopt(fd, to)
	if err != nil || e == 0 {
		return c, err
	}
	c.flags &^= flagWritable
	if timeout > 0 {
		c.WriteBy(l.now + int64(timeout))
	}
	c.writer = co
	for c.flags&(flagWritable|flagClosed) == 0 && c.writeErr() == nil {
		co.suspend()
	}
	c.writer = nil
	err = c.connected()
	c.WriteBy(0)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) connected() error {
	if c.flags&flagClosed != 0 {
		return net.ErrClosed
	}
	if c.flags&flagWritable == 0 {
		return os.ErrDeadlineExceeded
	}
	if e := sockError(int(c.fd)); e != 0 {
		return e
	}
	return nil
}
