package reactor

import (
	"syscall"
)

// Handler is told when a parked conn has something to say.
type Handler interface {
	// Ready runs on the loop, not in a coroutine: it may Read (EAGAIN: nothing there), Park again
	// or start a coroutine with Loop.Go. The conn is not parked any more.
	Ready(c *Conn)
}

// Park gives up the reading side until bytes, an end, an error or the read deadline (ReadBy,
// before Park) arrive: then h.Ready(c) is called, once, perhaps for nothing. When the loop ends it
// is called too, and Read returns net.ErrClosed. A parked conn holds no coroutine and no buffer.
// Writing to it stays possible.
func (c *Conn) Park(h Handler) {
	if c.reader != nil {
		panic("reactor: park a conn that is being read")
	}
	c.handler = h
	c.flags |= flagParked
	if c.flags&flagReadable != 0 && c.flags&(flagPeerDone|flagClosed) == 0 {
		// A read that filled its buffer exactly does not know. Look, so that a pooled conn is not
		// taken for one at which the server spoke unasked.
		var one [1]byte
		if _, e := recv(int(c.fd), one[:], syscall.MSG_PEEK); e == syscall.EAGAIN {
			c.flags &^= flagReadable
		}
	}
	if c.flags&(flagReadable|flagClosed) != 0 {
		c.makeDue()
	} else if c.readDeadline != 0 {
		c.schedule(c.readDeadline)
	}
}

// Unpark takes a parked conn back. False: there is something to read, an end or an error, or it
// was handed over or closed already; then it stays as it is, and the handler gets it if it is
// parked still. The read deadline stays: set it anew.
func (c *Conn) Unpark() bool {
	if c.flags&flagParked == 0 || c.flags&(flagReadable|flagClosed|flagDue) != 0 {
		return false
	}
	c.flags &^= flagParked
	c.handler = nil
	c.use()
	return true
}

// OnReset has f run on the loop, once, when the peer resets the connection while nobody reads it
// and it is not parked; nil clears. At once is too early: also a reset that came before is told in
// the next event only, so set it before the wait that it should cut short.
func (c *Conn) OnReset(f func()) { c.onReset = f }

// OnEnd is OnReset for a peer that ends its side in order. Bytes may wait before the end.
func (c *Conn) OnEnd(f func()) { c.onEnd = f }

// PeerEnded says that the peer has ended its side, or reset the connection, as far as the loop was
// told. Bytes may wait before the end.
func (c *Conn) PeerEnded() bool { return c.flags&flagPeerDone != 0 }

func (c *Conn) makeDue() {
	if c.flags&flagDue == 0 {
		c.flags |= flagDue
		c.loop.due = append(c.loop.due, c)
	}
}

// handOver calls the handler of a parked conn.
func (l *Loop) handOver(c *Conn) {
	h := c.handler
	c.handler = nil
	c.flags &^= flagParked
	l.acting = c
	h.Ready(c)
	l.acting = nil
}
