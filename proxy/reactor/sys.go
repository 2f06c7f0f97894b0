package reactor

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Raw system calls: they cannot block (the sockets are non-blocking), so telling the scheduler
// about them would only cost. The socket calls are used instead of read and write: they skip the
// file layer, and MSG_NOSIGNAL spares the SIGPIPE of a write to a closed peer.

func recv(fd int, p []byte, flags int) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(flags), 0, 0)
	return int(n), e
}

func send(fd int, p []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_NOSIGNAL, 0, 0)
	return int(n), e
}

func sendv(fd int, m *syscall.Msghdr) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(syscall.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(m)), syscall.MSG_NOSIGNAL)
	return int(n), e
}

// poll collects events without waiting.
func poll(epfd int, events []syscall.EpollEvent) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epfd),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	return int(n), e
}

// block waits msec (-1: without end) for events; the runtime uses the processor meanwhile.
func block(epfd int, events []syscall.EpollEvent, msec int) (int, syscall.Errno) {
	n, _, e := syscall.Syscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epfd),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(msec), 0, 0)
	return int(n), e
}

func epollCtl(epfd, op, fd int, ev *syscall.EpollEvent) syscall.Errno {
	_, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(epfd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(ev)), 0, 0)
	return e
}

func closeFD(fd int) {
	syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0)
}

func accept(fd int, sa *syscall.RawSockaddrAny) (int, syscall.Errno) {
	size := uint32(syscall.SizeofSockaddrAny)
	n, _, e := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(sa)),
		uintptr(unsafe.Pointer(&size)), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
	return int(n), e
}

func sockname(fd int) netip.AddrPort {
	var sa syscall.RawSockaddrAny
	size := uint32(syscall.SizeofSockaddrAny)
	_, _, e := syscall.RawSyscall(syscall.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
	if e != 0 {
		return netip.AddrPort{}
	}
	return addrPort(&sa)
}

func sockError(fd int) syscall.Errno {
	v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return unix.EBADF
	}
	return syscall.Errno(v)
}

// addrPort reads a socket address; a v4-mapped IPv6 address becomes IPv4, other families nothing.
func addrPort(sa *syscall.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case syscall.AF_INET:
		in := (*syscall.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), swap16(in.Port))
	case syscall.AF_INET6:
		in := (*syscall.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), swap16(in.Port))
	}
	return netip.AddrPort{}
}

// connect begins a connection. An IPv4 address is mapped when the socket is an IPv6 one.
func connect(fd int, to netip.AddrPort) syscall.Errno {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return unix.EBADF
	}
	var at unsafe.Pointer
	var size uintptr
	if family == syscall.AF_INET {
		if !to.Addr().Unmap().Is4() {
			return syscall.EAFNOSUPPORT
		}
		sa := &syscall.RawSockaddrInet4{Family: syscall.AF_INET, Port: swap16(to.Port()), Addr: to.Addr().Unmap().As4()}
		at, size = unsafe.Pointer(sa), syscall.SizeofSockaddrInet4
	} else {
		sa := &syscall.RawSockaddrInet6{Family: syscall.AF_INET6, Port: swap16(to.Port()), Addr: to.Addr().As16()}
		at, size = unsafe.Pointer(sa), syscall.SizeofSockaddrInet6
	}
	_, _, e := syscall.RawSyscall(syscall.SYS_CONNECT, uintptr(fd), uintptr(at), size)
	return e
}

// swap16 turns a port between the wire's order and that of the (little-endian) machines we run on.
func swap16(v uint16) uint16 { return v<<8 | v>>8 }
