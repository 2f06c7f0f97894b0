package reactor

import (
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	flagReadable = 1 << iota // a read may find something: not known to be drained
	flagWritable             // a write may find room: not known to be full
	flagPeerDone             // EPOLLRDHUP was seen: behind the bytes there is an end
	flagReset                // EPOLLERR or EPOLLHUP was seen
	flagClosed
	flagParked
	flagDue    // in Loop.due
	flagEnding // closed by the loop's end: the owner has not closed it yet
)

// connEvents are registered once and stay, edge-triggered: no epoll_ctl per request.
const connEvents = syscall.EPOLLIN | syscall.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET

// Conn is a stream socket on a loop, and a net.Conn. One coroutine may wait for reading and one
// for writing at the same time. Methods are for the conn's own loop.
//
// Errors are io.EOF, os.ErrDeadlineExceeded, net.ErrClosed, bare syscall.Errno values such as
// ECONNRESET, and EAGAIN where there is no coroutine to wait in. None of them allocates.
type Conn struct {
	// set at construction
	loop   *Loop
	fd     int32
	slot   uint32
	remote netip.AddrPort

	// owned by the loop
	flags          uint32
	user           uint64 // the task that used it last
	reader, writer *coro
	handler        Handler
	onReset, onEnd func()
	readDeadline   int64 // ns on the loop's clock, 0 none
	writeDeadline  int64
	timer          Timer
	local          netip.AddrPort // read at first need
}

var _ net.Conn = (*Conn)(nil)

// Adopt takes an open, connected, non-blocking stream socket into the loop; on error it is closed.
// On the loop or in a coroutine.
func (l *Loop) Adopt(fd int, peer netip.AddrPort) (*Conn, error) {
	if l.stopping {
		closeFD(fd)
		return nil, net.ErrClosed
	}
	c := &Conn{loop: l, fd: int32(fd), remote: peer, flags: flagWritable}
	c.timer.owner = c
	at, err := l.register(fd, connEvents, slot{conn: c})
	if err != nil {
		closeFD(fd)
		return nil, err
	}
	c.slot = at
	c.use()
	l.counters.conns.Add(1)
	return c, nil
}

// Loop is the loop that the conn belongs to. ANY GOROUTINE.
func (c *Conn) Loop() *Loop { return c.loop }

// RawFD is the descriptor, for socket options; it is valid until Close.
func (c *Conn) RawFD() int { return int(c.fd) }

// RemoteAddrPort is the peer as given to Adopt or Connect.
func (c *Conn) RemoteAddrPort() netip.AddrPort { return c.remote }

// LocalAddrPort is the socket's own address, asked for once; v4-mapped addresses come as IPv4.
func (c *Conn) LocalAddrPort() netip.AddrPort {
	if !c.local.IsValid() && c.flags&flagClosed == 0 {
		c.local = sockname(int(c.fd))
	}
	return c.local
}

// RemoteAddr is RemoteAddrPort as a net.Addr; it allocates.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.RemoteAddrPort()) }

// LocalAddr is LocalAddrPort as a net.Addr; it allocates.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.LocalAddrPort()) }

// Closed tells whether the conn was closed, by its owner or by the end of the loop.
func (c *Conn) Closed() bool { return c.flags&flagClosed != 0 }

// Close closes the socket; unread bytes make the kernel send a reset. Who waits in Read or Write
// gets net.ErrClosed; a parked conn's handler is not called. Closing twice returns net.ErrClosed.
func (c *Conn) Close() error {
	if c.flags&flagClosed != 0 {
		if c.flags&flagEnding != 0 {
			c.flags &^= flagEnding | flagParked
			c.handler = nil
			return nil
		}
		return net.ErrClosed
	}
	c.flags &^= flagParked
	c.handler = nil
	c.shut()
	return nil
}

// Abort closes the socket with a reset (RST) in place of an orderly end.
func (c *Conn) Abort() {
	if c.flags&flagClosed == 0 {
		_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	_ = c.Close()
}

// CloseWrite ends the sending side: the peer reads EOF behind what was written.
func (c *Conn) CloseWrite() error {
	if c.flags&flagClosed != 0 {
		return net.ErrClosed
	}
	if err := unix.Shutdown(int(c.fd), unix.SHUT_WR); err != nil {
		return err
	}
	return nil
}

// shut closes the descriptor and wakes whoever waits. At the end of the loop it is called on conns
// whose owners do not know: a parked one becomes ready so that they learn.
func (c *Conn) shut() {
	if c.flags&flagClosed != 0 {
		return
	}
	l := c.loop
	c.flags |= flagClosed
	c.onReset = nil
	c.timer.Stop()
	closeFD(int(c.fd)) // the only descriptor of this socket, so epoll forgets it too
	l.release(c.slot)
	l.counters.conns.Add(-1)
	if c.reader != nil {
		c.reader.wake()
	}
	if c.writer != nil {
		c.writer.wake()
	}
	if l.stopping {
		c.flags |= flagEnding
		if c.flags&flagParked != 0 {
			c.makeDue()
		}
	}
}

// event takes in what epoll says: flags first, then whoever waits for them.
func (c *Conn) event(events uint32) {
	if events&(syscall.EPOLLIN|unix.EPOLLRDHUP|syscall.EPOLLERR|syscall.EPOLLHUP) != 0 {
		c.flags |= flagReadable
	}
	if events&(syscall.EPOLLOUT|syscall.EPOLLERR|syscall.EPOLLHUP) != 0 {
		c.flags |= flagWritable
	}
	if events&(unix.EPOLLRDHUP|syscall.EPOLLERR|syscall.EPOLLHUP) != 0 {
		c.flags |= flagPeerDone
	}
	if events&(syscall.EPOLLERR|syscall.EPOLLHUP) != 0 {
		c.flags |= flagReset
	}
	if c.writer != nil && c.flags&flagWritable != 0 {
		c.writer.wake()
	}
	switch {
	case c.flags&flagReadable == 0:
	case c.reader != nil:
		c.reader.wake()
	case c.flags&flagParked != 0:
		c.loop.handOver(c)
	case c.flags&flagReset != 0 && c.onReset != nil:
		f := c.onReset
		c.onReset = nil
		f()
	case c.flags&(flagPeerDone|flagReset) == flagPeerDone && c.onEnd != nil:
		f := c.onEnd
		c.onEnd = nil
		f()
	}
}

// use notes the running coroutine as the one to be blamed for the conn.
func (c *Conn) use() {
	if co := c.loop.current; co != nil {
		c.user = co.serial
	}
}

// ReadBy sets the time, in ns on the loop's clock, at which reads that are not done fail with
// os.ErrDeadlineExceeded, and at which a parked conn becomes ready; 0: never. It costs no clock
// reading and, when it only moves a deadline on, no timer either. It wakes a reader that is late now.
func (c *Conn) ReadBy(at int64) {
	c.readDeadline = at
	c.schedule(at)
	if at != 0 && at <= c.loop.now && c.reader != nil {
		c.reader.wake()
	}
}

// WriteBy is ReadBy for writes.
func (c *Conn) WriteBy(at int64) {
	c.writeDeadline = at
	c.schedule(at)
	if at != 0 && at <= c.loop.now && c.writer != nil {
		c.writer.wake()
	}
}

// schedule sees to it that the timer fires at or before at. A timer that is too early is left: it
// re-arms itself when it fires, so a deadline that moves with every request costs nothing.
func (c *Conn) schedule(at int64) {
	if at == 0 || c.flags&flagClosed != 0 || c.timer.Armed() && c.timer.when <= at {
		return
	}
	c.loop.wheel.arm(&c.timer, at)
}

// expire is the timer: it tells whom it concerns and arms for the deadline that is left.
func (c *Conn) expire() {
	now := c.loop.now
	if c.writeDeadline > now {
		c.schedule(c.writeDeadline)
	} else if c.writeDeadline != 0 && c.writer != nil {
		c.writer.wake()
	}
	if c.readDeadline > now {
		c.schedule(c.readDeadline)
		return
	}
	switch {
	case c.readDeadline == 0:
	case c.reader != nil:
		c.reader.wake()
	case c.flags&flagParked != 0:
		c.loop.handOver(c)
	}
}

// SetReadDeadline is ReadBy for a time.Time; the zero time means never. The loop's clock is taken
// to run like the wall clock: use ReadBy where the clock may be a fake one.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.ReadBy(c.loop.at(t))
	return c.openErr()
}

// SetWriteDeadline is WriteBy for a time.Time, see SetReadDeadline.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.WriteBy(c.loop.at(t))
	return c.openErr()
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	at := c.loop.at(t)
	c.ReadBy(at)
	c.WriteBy(at)
	return c.openErr()
}

func (l *Loop) at(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(1, l.now+int64(time.Until(t)))
}

func (c *Conn) openErr() error {
	if c.flags&flagClosed != 0 {
		return net.ErrClosed
	}
	return nil
}
