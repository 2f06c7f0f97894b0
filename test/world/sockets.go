package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A connection belongs to the cgroup of the process that made its socket, so a
// test cannot dial from a pod by itself. A small helper process in the pod
// (`culvert-peer sockets`, descriptor 3) dials and hands the socket over.

type socketRequest struct {
	ID      uint64
	Network string
	Address string
	// Local is the address to bind before connecting; "" binds nothing.
	Local   string
	Timeout time.Duration
	// Raw asks for a new unconnected socket: Domain, Type, Protocol of socket(2).
	Raw                    bool
	Domain, Type, Protocol int
}

type socketReply struct {
	ID    uint64
	Error string
	Errno int // 0: none
}

// socketClient is the test's end of the helper.
type socketClient struct {
	conn *net.UnixConn

	// guarded by mu
	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan socketAnswer
	closed  bool
}

type socketAnswer struct {
	file *os.File
	err  error
}

// Dial connects from inside the place, as a program in the pod would: the
// connection is captured when the pod is enrolled. network is tcp, tcp4, tcp6
// or udp; addr must be a literal address and port.
func (p *Place) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return p.DialFrom(ctx, network, "", addr)
}

// DialFrom is Dial with the local address ("ip:port") bound first.
func (p *Place) DialFrom(ctx context.Context, network, local, addr string) (net.Conn, error) {
	r := socketRequest{Network: network, Address: addr, Local: local, Timeout: time.Minute}
	if d, ok := ctx.Deadline(); ok {
		r.Timeout = time.Until(d)
	}
	file, err := p.askSocket(ctx, r)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s from %s: %w", addr, p.Name, err)}
	}
	defer file.Close()
	return net.FileConn(file)
}

// Socket makes an unconnected socket inside the place: for tests that make
// their own connect(2). The descriptor is blocking; the caller closes it.
func (p *Place) Socket(ctx context.Context, domain, typ, protocol int) (int, error) {
	file, err := p.askSocket(ctx, socketRequest{Raw: true, Domain: domain, Type: typ, Protocol: protocol})
	if err != nil {
		return -1, fmt.Errorf("make a socket in %s: %w", p.Name, err)
	}
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("duplicate the socket: %w", err)
	}
	return fd, nil
}

// HTTPClient makes requests from inside the place. Connections are kept alive,
// as many as are needed; Transport.CloseIdleConnections drops them. It follows
// no redirect and asks for no compression.
func (p *Place) HTTPClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         p.Dial,
			MaxIdleConnsPerHost: 10000,
			DisableCompression:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// askSocket sends one request to the helper, which it starts if needed.
func (p *Place) askSocket(ctx context.Context, r socketRequest) (*os.File, error) {
	p.mu.Lock()
	client := p.sockets
	p.mu.Unlock()
	if client == nil {
		started, err := p.startSockets()
		if err != nil {
			return nil, err
		}
		client = started
	}
	return client.ask(ctx, r)
}

// startSockets starts the helper. Two callers may race; the second's helper
// is then given up.
func (p *Place) startSockets() (*socketClient, error) {
	binary, err := PeerBinary()
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "sockets"), os.NewFile(uintptr(pair[1]), "sockets")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("open the socket pair: %w", err)
	}
	// The helper lives as long as the place: it ends when our end closes.
	proc, err := p.Start(context.Background(), Command{Args: []string{binary, "sockets"}, Files: []*os.File{theirs}})
	if err != nil {
		conn.Close()
		return nil, err
	}
	client := &socketClient{conn: conn.(*net.UnixConn), waiting: map[uint64]chan socketAnswer{}}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sockets != nil {
		conn.Close()
		return p.sockets, nil
	}
	p.sockets = client
	go client.receive(proc)
	return client, nil
}

// ask sends a request and waits for its answer.
func (s *socketClient) ask(ctx context.Context, r socketRequest) (*os.File, error) {
	answer := make(chan socketAnswer, 1)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, net.ErrClosed
	}
	s.next++
	r.ID = s.next
	s.waiting[r.ID] = answer
	s.mu.Unlock()
	text, err := json.Marshal(r)
	if err == nil {
		_, err = s.conn.Write(text)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the socket helper: %w", err)
	}
	select {
	case a := <-answer:
		return a.file, a.err
	case <-ctx.Done():
		// A late answer is still received, and its socket closed there.
		go func() {
			if a := <-answer; a.file != nil {
				a.file.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// receive gives answers to those who wait, until the helper is gone.
func (s *socketClient) receive(proc *Process) {
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := s.conn.ReadMsgUnix(buf, oob)
		if err != nil || n == 0 {
			break
		}
		var reply socketReply
		a := socketAnswer{file: firstFile(oob[:oobn])}
		switch err := json.Unmarshal(buf[:n], &reply); {
		case err != nil:
			a.err = err
		case reply.Errno != 0:
			a.err = os.NewSyscallError("connect", syscall.Errno(reply.Errno))
		case reply.Error != "":
			a.err = errors.New(reply.Error)
		}
		s.mu.Lock()
		answer := s.waiting[reply.ID]
		delete(s.waiting, reply.ID)
		s.mu.Unlock()
		if answer != nil {
			answer <- a
		}
	}
	s.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, answer := range s.waiting {
		answer <- socketAnswer{err: fmt.Errorf("the socket helper is gone: %w", net.ErrClosed)}
	}
	clear(s.waiting)
}

func (s *socketClient) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.conn.Close()
}

// firstFile takes the descriptor out of a control message (unix(7), SCM_RIGHTS).
func firstFile(oob []byte) *os.File {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil && len(fds) > 0 {
			unix.CloseOnExec(fds[0])
			return os.NewFile(uintptr(fds[0]), "socket")
		}
	}
	return nil
}
