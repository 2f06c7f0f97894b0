package world

import (
	"context"
	"encoding/binary"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Wait looks at a condition every few milliseconds until it holds, it returns
// an error, or ctx ends; 20 s when ctx has no deadline of its own. what names
// the condition in the error.
func Wait(ctx context.Context, what string, holds func() (bool, error)) error {
	if _, ok := ctx.Deadline(); !ok {
		bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		ctx = bounded
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		ok, err := holds()
		if err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		}
	}
}

// listens says whether the namespace of the calling thread has a TCP listener
// on port. It asks sock_diag(7) for listeners only: /proc/net/tcp walks the
// whole table of connections, a second's work on a large machine.
func listens(port uint16) (bool, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return false, fmt.Errorf("open sock_diag: %w", err)
	}
	defer unix.Close(fd)
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		found, err := listensOn(fd, family, port)
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// listensOn asks for one family's listeners.
func listensOn(fd int, family byte, port uint16) (bool, error) {
	const (
		requestBytes     = unix.SizeofNlMsghdr + 56 // struct inet_diag_req_v2
		sockDiagByFamily = 20                       // SOCK_DIAG_BY_FAMILY
		listenState      = 10                       // TCP_LISTEN
		sourcePortBytes  = 4                        // offset of id.idiag_sport in struct inet_diag_msg
	)
	request := make([]byte, requestBytes)
	order := binary.NativeEndian
	order.PutUint32(request[0:], requestBytes)
	order.PutUint16(request[4:], sockDiagByFamily)
	order.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := request[unix.SizeofNlMsghdr:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	order.PutUint32(body[4:], 1<<listenState)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, fmt.Errorf("ask sock_diag: %w", err)
	}
	found := false
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return false, fmt.Errorf("read sock_diag: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return false, fmt.Errorf("read sock_diag: %w", err)
		}
		for _, m := range messages {
			if m.Header.Type == unix.NLMSG_DONE || m.Header.Type == unix.NLMSG_ERROR {
				return found, nil
			}
			if len(m.Data) >= sourcePortBytes+2 && binary.BigEndian.Uint16(m.Data[sourcePortBytes:]) == port {
				found = true
			}
		}
	}
}
