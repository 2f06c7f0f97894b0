package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ServeSockets is the helper process that Place.Dial starts in a pod: it reads
// requests from the socket on descriptor 3, dials, and sends the sockets back.
// It returns when the other end is closed.
func ServeSockets() error {
	conn, err := net.FileConn(os.NewFile(3, "sockets"))
	if err != nil {
		return fmt.Errorf("open descriptor 3: %w", err)
	}
	ours := conn.(*net.UnixConn)
	buf := make([]byte, 4096)
	for {
		n, err := ours.Read(buf)
		if err != nil || n == 0 {
			return nil
		}
		var r socketRequest
		if err := json.Unmarshal(buf[:n], &r); err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		go answerSocket(ours, r)
	}
}

func answerSocket(to *net.UnixConn, r socketRequest) {
	reply := socketReply{ID: r.ID}
	fd, err := makeSocket(r)
	var rights []byte
	if err != nil {
		reply.Error = err.Error()
		var errno syscall.Errno
		if errors.As(err, &errno) {
			reply.Errno = int(errno)
		}
	} else {
		rights = unix.UnixRights(fd)
		defer unix.Close(fd)
	}
	// A reply is a few strings and numbers: it always marshals. When the other
	// end is gone, so is who would have cared.
	text, _ := json.Marshal(reply)
	_, _, _ = to.WriteMsgUnix(text, rights, nil)
}

// makeSocket does what a request asks; the caller closes the descriptor.
func makeSocket(r socketRequest) (int, error) {
	if r.Raw {
		return unix.Socket(r.Domain, r.Type|unix.SOCK_CLOEXEC, r.Protocol)
	}
	d := net.Dialer{Timeout: r.Timeout}
	if r.Local != "" {
		local, err := netip.ParseAddrPort(r.Local)
		if err != nil {
			return -1, fmt.Errorf("parse local address: %w", err)
		}
		if r.Network == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(local)
		} else {
			d.LocalAddr = net.TCPAddrFromAddrPort(local)
		}
	}
	c, err := d.DialContext(context.Background(), r.Network, r.Address)
	if err != nil {
		return -1, err
	}
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dupErr error
	if err := raw.Control(func(s uintptr) { fd, dupErr = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, err
	}
	return fd, dupErr
}
