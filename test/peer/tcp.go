package peer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// TCPServer speaks no HTTP.
type TCPServer struct {
	// Greeting is sent first, before a byte was read: what makes a protocol
	// server-first (SMTP, MySQL). "": nothing.
	Greeting string
	// Quiet servers do not echo: they count what comes, and answer with
	// "<bytes>\n" when the client closes its side.
	Quiet bool
	// Once servers close after the first answer: connect-and-close clients
	// then leave TIME_WAIT on the server's side.
	Once bool

	connections, bytes atomic.Int64
	mu                 sync.Mutex
	open               map[net.Conn]bool // guarded by mu
}

// Connections is how many connections were accepted.
func (s *TCPServer) Connections() int64 { return s.connections.Load() }

// Bytes is how many bytes were read from all connections.
func (s *TCPServer) Bytes() int64 { return s.bytes.Load() }

// Serve accepts from l until l is closed, and then ends all connections.
func (s *TCPServer) Serve(l net.Listener) error {
	defer s.closeAll()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		s.connections.Add(1)
		s.keep(c, true)
		go func() {
			defer s.keep(c, false)
			defer c.Close()
			s.handle(c)
		}()
	}
}

func (s *TCPServer) handle(c net.Conn) {
	if _, err := io.WriteString(c, s.Greeting); err != nil {
		return
	}
	counted := &countingReader{from: c, total: &s.bytes}
	switch {
	case s.Quiet:
		n, err := io.Copy(io.Discard, counted)
		if err == nil {
			fmt.Fprintf(c, "%d\n", n)
		}
	case s.Once:
		buf := make([]byte, 4096)
		if n, err := counted.Read(buf); err == nil {
			_, _ = c.Write(buf[:n])
		}
	default:
		echoBytes(c, counted)
	}
}

func (s *TCPServer) keep(c net.Conn, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[net.Conn]bool{}
	}
	if open {
		s.open[c] = true
	} else {
		delete(s.open, c)
	}
}

func (s *TCPServer) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.Close()
	}
}

// echoBytes sends back what comes, until the other side has closed its
// direction; then it closes ours, so half-close is answered by half-close.
func echoBytes(c net.Conn, from io.Reader) {
	buf := make([]byte, 32<<10)
	// No io.Copy: it would splice between the socket and itself.
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			break
		}
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

type countingReader struct {
	from  io.Reader
	total *atomic.Int64
}

// Read implements io.Reader.
func (r *countingReader) Read(b []byte) (int, error) {
	n, err := r.from.Read(b)
	r.total.Add(int64(n))
	return n, err
}
