package reactor

import (
	"io"
	"net"
	"os"
	"syscall"
)

const maxVectors = 64 // buffers per sendmsg; longer lists take several

// Read reads what is there, at most len(p) bytes, and waits only when there is nothing. After
// 256 KiB (or 64 calls) without a wait it lets the loop's other work go first.
func (c *Conn) Read(p []byte) (int, error) {
	c.use()
	for {
		if err := c.readErr(); err != nil {
			return 0, err
		}
		if len(p) == 0 {
			return 0, nil
		}
		if c.flags&flagReadable != 0 && c.loop.afford() {
			n, err, again := c.tryRead(p)
			if !again {
				return n, err
			}
			continue
		}
		if !c.waitRead() {
			return 0, syscall.EAGAIN
		}
	}
}

// ReadWait is Read that first lets the loop turn: for the answer to what was just written, which
// cannot be there yet. Trying at once would cost a system call that finds nothing.
func (c *Conn) ReadWait(p []byte) (int, error) {
	if c.flags&flagReadable != 0 && c.loop.current != nil {
		c.loop.Yield()
	}
	return c.Read(p)
}

// Await waits until a Read may find something, so that a buffer need not be held meanwhile; the Read
// may still have to wait. Its errors are Read's, but for an end or a fault of the peer, which is
// for Read to find.
func (c *Conn) Await() error {
	c.use()
	for {
		if err := c.readErr(); err != nil || c.flags&flagReadable != 0 {
			return err
		}
		if !c.waitRead() {
			return syscall.EAGAIN
		}
	}
}

// TryRead is Read that never waits for bytes: syscall.EAGAIN when there are none. In a coroutine it
// may let other work go first. For readers that hold nothing while they wait, with Park.
func (c *Conn) TryRead(p []byte) (int, error) {
	c.use()
	if !c.loop.afford() {
		c.loop.Yield()
	}
	if err := c.readErr(); err != nil {
		return 0, err
	}
	for c.flags&flagReadable != 0 {
		if n, err, again := c.tryRead(p); !again {
			return n, err
		}
	}
	return 0, syscall.EAGAIN
}

// tryRead makes one attempt; again: look at the flags once more.
func (c *Conn) tryRead(p []byte) (n int, err error, again bool) {
	n, e := recv(int(c.fd), p, 0)
	switch {
	case e == 0 && n > 0:
		// A short read has drained the socket: what comes later is a new edge. Unless the end was
		// announced already, which is no edge a second time.
		if n < len(p) && c.flags&flagPeerDone == 0 {
			c.flags &^= flagReadable
		}
		c.loop.budget -= max(n, opCost)
		return n, nil, false
	case e == 0:
		return 0, io.EOF, false
	case e == syscall.EAGAIN:
		c.flags &^= flagReadable
		return 0, nil, true
	case e == syscall.EINTR:
		return 0, nil, true
	}
	c.flags |= flagReset | flagPeerDone
	return 0, e, false
}

// Peek is Read that leaves the bytes in the socket. It never waits: syscall.EAGAIN when there is nothing.
func (c *Conn) Peek(p []byte) (int, error) {
	if err := c.readErr(); err != nil {
		return 0, err
	}
	for {
		n, e := recv(int(c.fd), p, syscall.MSG_PEEK)
		switch {
		case e == syscall.EINTR:
		case e != 0:
			return 0, e
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write writes all of p, waiting as often as it takes.
func (c *Conn) Write(p []byte) (int, error) {
	c.use()
	sent := 0
	for {
		if err := c.writeErr(); err != nil {
			return sent, err
		}
		if sent == len(p) {
			return sent, nil
		}
		if c.flags&flagWritable == 0 || !c.loop.afford() {
			if !c.waitWrite() {
				return sent, syscall.EAGAIN
			}
			continue
		}
		n, e := send(int(c.fd), p[sent:])
		if err := c.wrote(n, len(p)-sent, e); err != nil {
			return sent, err
		}
		sent += max(n, 0)
	}
}

// Writev writes all of bufs in as few system calls as possible, and consumes them: what was
// written is cut off the slices in bufs, also when an error ends it. Nothing is allocated.
func (c *Conn) Writev(bufs [][]byte) (int64, error) {
	c.use()
	var sent int64
	for {
		if err := c.writeErr(); err != nil {
			return sent, err
		}
		for len(bufs) > 0 && len(bufs[0]) == 0 {
			bufs = bufs[1:]
		}
		if len(bufs) == 0 {
			return sent, nil
		}
		if c.flags&flagWritable == 0 || !c.loop.afford() {
			if !c.waitWrite() {
				return sent, syscall.EAGAIN
			}
			continue
		}
		n, size, e := c.sendVectors(bufs)
		if err := c.wrote(n, size, e); err != nil {
			return sent, err
		}
		if n > 0 {
			sent += int64(n)
			consume(bufs, n)
		}
	}
}

func (c *Conn) sendVectors(bufs [][]byte) (n, size int, e syscall.Errno) {
	l := c.loop
	used := 0
	for _, b := range bufs {
		if used == maxVectors {
			break
		}
		if len(b) == 0 {
			continue
		}
		l.vectors[used].Base = &b[0]
		l.vectors[used].SetLen(len(b))
		size += len(b)
		used++
	}
	if used == 1 {
		n, e = send(int(c.fd), bufs[0])
		return n, size, e
	}
	l.message.Iov, l.message.Iovlen = &l.vectors[0], uint64(used)
	n, e = sendv(int(c.fd), &l.message)
	return n, size, e
}

func consume(bufs [][]byte, n int) {
	for i := range bufs {
		cut := min(n, len(bufs[i]))
		bufs[i] = bufs[i][cut:]
		if n -= cut; n == 0 {
			return
		}
	}
}

// wrote takes in the outcome of one attempt to send size bytes.
func (c *Conn) wrote(n, size int, e syscall.Errno) error {
	switch {
	case e == 0:
		if n < size {
			c.flags &^= flagWritable // full: room is a new edge
		}
		c.loop.budget -= max(n, opCost)
	case e == syscall.EAGAIN:
		c.flags &^= flagWritable
	case e == syscall.EINTR:
	default:
		return e
	}
	return nil
}

// afford tells whether the coroutine may go on without letting others run.
func (l *Loop) afford() bool { return l.budget > 0 || l.current == nil }

func (c *Conn) readErr() error {
	switch {
	case c.flags&flagClosed != 0:
		return net.ErrClosed
	case c.readDeadline != 0 && c.loop.now >= c.readDeadline:
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (c *Conn) writeErr() error {
	switch {
	case c.flags&flagClosed != 0:
		return net.ErrClosed
	case c.writeDeadline != 0 && c.loop.now >= c.writeDeadline:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// waitRead suspends until there is reason to look again; false outside a coroutine.
func (c *Conn) waitRead() bool {
	co := c.loop.current
	if co == nil {
		return false
	}
	if c.flags&flagReadable != 0 {
		co.wake() // only the budget is used up
	}
	if c.reader != nil {
		panic("reactor: two readers wait on one conn")
	}
	c.reader = co
	co.suspend()
	c.reader = nil
	return true
}

func (c *Conn) waitWrite() bool {
	co := c.loop.current
	if co == nil {
		return false
	}
	if c.flags&flagWritable != 0 {
		co.wake()
	}
	if c.writer != nil {
		panic("reactor: two writers wait on one conn")
	}
	c.writer = co
	co.suspend()
	c.writer = nil
	return true
}
