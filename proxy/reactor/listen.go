package reactor

import (
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	acceptBatch = 64                    // accepts per turn, so that a flood leaves room for those who are in
	acceptPause = 10 * time.Millisecond // when descriptors or memory have run out
)

// Listener accepts on a loop until it is closed, by its owner or by the end of the loop.
type Listener struct {
	loop     *Loop
	fd       int
	slot     uint32
	accepted func(fd int, peer netip.AddrPort)
	resume   Timer
	closed   bool
	paused   bool
}

// Listen accepts connections from fd, a listening non-blocking socket, which it owns from now on
// (on error it is closed). accepted runs on the loop, not in a coroutine, and owns the new
// descriptor: non-blocking, close-on-exec, TCP_NODELAY. To accept on several loops give each its
// own duplicate of the descriptor: one of them is woken per connection (EPOLLEXCLUSIVE).
func (l *Loop) Listen(fd int, accepted func(fd int, peer netip.AddrPort)) (*Listener, error) {
	ln := &Listener{loop: l, fd: fd, accepted: accepted}
	ln.resume.F = ln.unpause
	if l.stopping {
		closeFD(fd)
		return nil, net.ErrClosed
	}
	if err := ln.register(); err != nil {
		closeFD(fd)
		return nil, err
	}
	return ln, nil
}

// register is level-triggered: what a batch leaves is reported again.
func (ln *Listener) register() (err error) {
	ln.slot, err = ln.loop.register(ln.fd, syscall.EPOLLIN|unix.EPOLLEXCLUSIVE, slot{listener: ln})
	return err
}

func (ln *Listener) unregister() {
	// By hand: other duplicates of the descriptor keep the socket, and with it epoll's entry.
	epollCtl(ln.loop.epfd, syscall.EPOLL_CTL_DEL, ln.fd, &syscall.EpollEvent{})
	ln.loop.release(ln.slot)
}

// Close stops accepting and closes the descriptor. On the loop.
func (ln *Listener) Close() error {
	if ln.closed {
		return net.ErrClosed
	}
	ln.closed = true
	ln.resume.Stop()
	if !ln.paused {
		ln.unregister()
	}
	closeFD(ln.fd)
	return nil
}

func (ln *Listener) accept() {
	for range acceptBatch {
		fd, e := accept(ln.fd, &ln.loop.address)
		switch e {
		case 0:
			peer := addrPort(&ln.loop.address)
			if peer.IsValid() {
				_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
			}
			ln.accepted(fd, peer)
			if ln.closed {
				return
			}
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			// The connection stays in the backlog and would be reported without end.
			ln.loop.counters.acceptErrors++
			ln.pause()
			return
		case syscall.EINTR, syscall.ECONNABORTED, syscall.EPROTO:
		default:
			return // EAGAIN: all taken
		}
	}
}

// pause takes the listener out of epoll for a while: EPOLLEXCLUSIVE allows no modification.
func (ln *Listener) pause() {
	ln.unregister()
	ln.paused = true
	ln.loop.After(&ln.resume, acceptPause)
}

func (ln *Listener) unpause() {
	if err := ln.register(); err != nil {
		ln.loop.counters.acceptErrors++
		ln.loop.After(&ln.resume, acceptPause)
		return
	}
	ln.paused = false
}
