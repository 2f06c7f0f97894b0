package reactor

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	spliceBytes = 1 << 20 // asked of the kernel as a pipe's size; it may give less
	spliceIdle  = 16      // empty pipes kept per loop
	// spliceMost is how many pipes a loop may have in use. One is held for as long as its receiver
	// takes nothing: two descriptors, and up to spliceBytes of the kernel's memory.
	spliceMost = 64
)

// Splice moves bytes from one conn of a loop to another inside the kernel, through a pipe. Fill and
// Drain in turn: between two fills the pipe is empty, so that EAGAIN can only mean that the socket
// is (the same errno would tell of a full pipe).
//
// Not for sockets in a sockmap: splice(2) reads an end from those.
type Splice struct {
	loop        *Loop
	read, write int
	held        int // bytes in the pipe
}

// TakeSplice returns an empty pipe, nil when there is none to be had (descriptors, memory, or many
// are in use): then copy. Give it back with Release.
func (l *Loop) TakeSplice() *Splice {
	if l.splicing >= spliceMost {
		return nil
	}
	if n := len(l.splices); n > 0 {
		s := l.splices[n-1]
		l.splices = l.splices[:n-1]
		l.splicing++
		return s
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return nil
	}
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, spliceBytes) // smaller does as well
	l.splicing++
	return &Splice{loop: l, read: fds[0], write: fds[1]}
}

// Release gives a pipe back to its loop; one that still has bytes is closed, and they are lost.
func (s *Splice) Release() {
	s.loop.splicing--
	if s.held > 0 || len(s.loop.splices) >= spliceIdle || s.loop.stopping {
		s.close()
		return
	}
	s.loop.splices = append(s.loop.splices, s)
}

func (s *Splice) close() {
	closeFD(s.read)
	closeFD(s.write)
}

// Fill takes what c has into the empty pipe, as much as fits. Like Conn.TryRead it never waits for
// bytes: syscall.EAGAIN, or io.EOF at the end. In a coroutine.
func (s *Splice) Fill(c *Conn) (int, error) {
	c.use()
	if !c.loop.afford() {
		c.loop.Yield()
	}
	if err := c.readErr(); err != nil {
		return 0, err
	}
	for c.flags&flagReadable != 0 {
		n, e := splice(int(c.fd), s.write, spliceBytes)
		switch {
		case e == 0 && n > 0:
			// Less than was asked for says nothing here: a pipe counts pages, not bytes.
			s.held = n
			c.loop.budget -= max(n, opCost)
			return n, nil
		case e == 0:
			return 0, io.EOF
		case e == syscall.EAGAIN:
			c.flags &^= flagReadable
		case e != syscall.EINTR:
			c.flags |= flagReset | flagPeerDone
			return 0, e
		}
	}
	return 0, syscall.EAGAIN
}

// Drain writes all that is in the pipe to c, waiting as often as it takes. It returns what was
// written; after an error the rest stays in the pipe. In a coroutine.
func (s *Splice) Drain(c *Conn) (int, error) {
	c.use()
	sent := 0
	for s.held > 0 {
		if err := c.writeErr(); err != nil {
			return sent, err
		}
		if c.flags&flagWritable == 0 || !c.loop.afford() {
			if !c.waitWrite() {
				return sent, syscall.EAGAIN
			}
			continue
		}
		n, e := splice(s.read, int(c.fd), s.held)
		switch {
		case e == 0:
			// A short write is no sign of a full socket here either: only EAGAIN is.
			s.held -= n
			sent += n
			c.loop.budget -= max(n, opCost)
		case e == syscall.EAGAIN:
			c.flags &^= flagWritable
		case e != syscall.EINTR:
			return sent, e
		}
	}
	return sent, nil
}

func splice(from, to, size int) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(size),
		unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	return int(n), e
}
