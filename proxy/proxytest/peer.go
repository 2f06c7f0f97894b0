package proxytest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long, in real time, an expectation waits before it fails.
const patience = 10 * time.Second

// Peer is the far end of a connection: an ordinary blocking socket with a script. A method that
// does not get what it expects fails the test at once, so call it from the test's own goroutine.
type Peer struct {
	t    testing.TB
	conn *net.TCPConn
	read []byte // beyond what was expected so far
}

// Server is a listening peer.
type Server struct {
	t testing.TB
	l *net.TCPListener
}

// Listen opens a server on a free port of 127.0.0.1; it is closed with the test.
func Listen(t testing.TB) *Server {
	t.Helper()
	// Not net.Listen: Go's listeners are MPTCP by default, and we test plain TCP.
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &Server{t: t, l: l}
}

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort { return s.l.Addr().(*net.TCPAddr).AddrPort() }

// Close stops listening: further connects are refused.
func (s *Server) Close() { _ = s.l.Close() }

// Accept waits for a connection.
func (s *Server) Accept() *Peer {
	s.t.Helper()
	_ = s.l.SetDeadline(time.Now().Add(patience))
	c, err := s.l.AcceptTCP()
	if err != nil {
		s.t.Fatalf("accept: %v", err)
	}
	return newPeer(s.t, c)
}

// acceptFD takes a connection out of Go's hands.
func (s *Server) acceptFD() (int, netip.AddrPort) {
	s.t.Helper()
	_ = s.l.SetDeadline(time.Now().Add(patience))
	c, err := s.l.AcceptTCP()
	if err != nil {
		s.t.Fatalf("accept: %v", err)
	}
	defer c.Close()
	return duplicate(s.t, c), c.RemoteAddr().(*net.TCPAddr).AddrPort()
}

// Dial connects to addr; the connection is closed with the test.
func Dial(t testing.TB, addr netip.AddrPort) *Peer {
	t.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	return newPeer(t, c)
}

func newPeer(t testing.TB, c *net.TCPConn) *Peer {
	t.Cleanup(func() { _ = c.Close() })
	return &Peer{t: t, conn: c}
}

// Conn is the socket itself.
func (p *Peer) Conn() *net.TCPConn { return p.conn }

// Send writes s.
func (p *Peer) Send(s string) {
	p.t.Helper()
	_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(p.conn, s); err != nil {
		p.t.Fatalf("send %.60q: %v", s, err)
	}
}

// Expect reads exactly want.
func (p *Peer) Expect(want string) {
	p.t.Helper()
	got, err := p.take(func(b []byte) int {
		if len(b) >= len(want) || !strings.HasPrefix(want, string(b)) {
			return min(len(b), len(want))
		}
		return 0
	}, len(want) == 0)
	if string(got) != want {
		p.t.Fatalf("got %.300q (%v), want %.300q", got, err, want)
	}
}

// Until reads up to and including end, and returns it all: p.Until("\r\n\r\n") is a head.
func (p *Peer) Until(end string) string {
	p.t.Helper()
	got, err := p.take(func(b []byte) int {
		if at := bytes.Index(b, []byte(end)); at >= 0 {
			return at + len(end)
		}
		return 0
	}, false)
	if err != nil {
		p.t.Fatalf("got %.300q (%v), want it to end with %q", got, err, end)
	}
	return string(got)
}

// Bytes reads n bytes.
func (p *Peer) Bytes(n int) []byte {
	p.t.Helper()
	got, err := p.take(func(b []byte) int {
		if len(b) >= n {
			return n
		}
		return 0
	}, n == 0)
	if err != nil {
		p.t.Fatalf("got %d bytes (%v), want %d", len(got), err, n)
	}
	return got
}

// take reads until enough says how many bytes to take; on an error it takes all.
func (p *Peer) take(enough func([]byte) int, none bool) ([]byte, error) {
	if none {
		return nil, nil
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 64<<10)
	for {
		if n := enough(p.read); n > 0 {
			got := p.read[:n:n]
			p.read = p.read[n:]
			return got, nil
		}
		n, err := p.conn.Read(buf)
		p.read = append(p.read, buf[:n]...)
		if err != nil && enough(p.read) == 0 {
			got := p.read
			p.read = nil
			return got, err
		}
	}
}

// Rest reads to the end, orderly or not, and returns what came before it.
func (p *Peer) Rest() string {
	p.t.Helper()
	var all []byte
	for {
		got, err := p.take(func(b []byte) int { return len(b) }, false)
		all = append(all, got...)
		if err != nil {
			return string(all)
		}
	}
}

// ExpectEOF expects the orderly end, and nothing before it.
func (p *Peer) ExpectEOF() {
	p.t.Helper()
	if got, err := p.take(func(b []byte) int { return min(len(b), 300) }, false); err != io.EOF {
		p.t.Fatalf("got %.300q (%v), want the end", got, err)
	}
}

// ExpectReset expects a reset (RST), and nothing before it.
func (p *Peer) ExpectReset() {
	p.t.Helper()
	if got, err := p.take(func(b []byte) int { return min(len(b), 300) }, false); !errors.Is(err, syscall.ECONNRESET) {
		p.t.Fatalf("got %.300q (%v), want a reset", got, err)
	}
}

// CloseWrite ends the sending side (FIN).
func (p *Peer) CloseWrite() { _ = p.conn.CloseWrite() }

// Close closes in order; with unread bytes the kernel makes it a reset.
func (p *Peer) Close() { _ = p.conn.Close() }

// Reset closes with a RST.
func (p *Peer) Reset() {
	_ = p.conn.SetLinger(0)
	_ = p.conn.Close()
}

func await(t testing.TB, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s does not come to an end", what)
	}
}

// duplicate returns a non-blocking descriptor of its own for a socket.
func duplicate(t testing.TB, s syscall.Conn) (fd int) {
	t.Helper()
	raw, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(from uintptr) { fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return fd
}
