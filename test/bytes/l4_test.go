package bytes

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/culvert-mesh/culvert/test/world"
)

// A stream begins with a head from the client: a byte that no other protocol
// begins with, how the two directions follow each other, an id and the sizes.
const headBytes = 2 + 3*8

type order byte

const (
	// upFirst: the client sends and closes its side; at the end the server answers.
	upFirst order = iota
	// downFirst: the server sends and closes its side; at the end the client sends.
	downFirst
	// together: both at the same time, each closes its side.
	together
	orders
)

func (o order) String() string { return [...]string{"up first", "down first", "together"}[o] }

type streamHead struct {
	order    order
	id       uint64
	up, down int64
}

func (h streamHead) encode() []byte {
	b := []byte{0, byte(h.order)}
	b = binary.BigEndian.AppendUint64(b, h.id)
	b = binary.BigEndian.AppendUint64(b, uint64(h.up))
	return binary.BigEndian.AppendUint64(b, uint64(h.down))
}

func decodeHead(b []byte) streamHead {
	u64 := func(at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }
	return streamHead{order(b[1]), u64(2), int64(u64(10)), int64(u64(18))}
}

// seen is what one end sent and received.
type seen struct {
	sent, got digest
	err       error
}

// ledger has what the server saw, by stream.
type ledger struct {
	mu      sync.Mutex
	streams map[uint64]chan seen // guarded by mu
}

func (l *ledger) of(id uint64) chan seen {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams == nil {
		l.streams = map[uint64]chan seen{}
	}
	if l.streams[id] == nil {
		l.streams[id] = make(chan seen, 1)
	}
	return l.streams[id]
}

// exchange sends p and receives, one after the other or both together.
func (st *stage) exchange(c *net.TCPConn, p *payload, sendFirst, receiveFirst bool) (s seen) {
	send := func() error { return errors.Join(p.write(c), c.CloseWrite()) }
	receive := func() (err error) {
		s.got, err = readAll(st.paced(c))
		return err
	}
	switch {
	case sendFirst:
		s.err = errors.Join(send(), receive())
	case receiveFirst:
		s.err = errors.Join(receive(), send())
	default:
		sent := make(chan error, 1)
		go func() { sent <- send() }()
		s.err = errors.Join(receive(), <-sent)
	}
	s.sent = p.sent
	return s
}

// serveStreams answers streams until the test ends.
func (s *stage) serveStreams() *ledger {
	l := &ledger{}
	s.serve(tcpPort, func(c *net.TCPConn) {
		head := make([]byte, headBytes)
		if _, err := io.ReadFull(c, head); err != nil {
			s.t.Errorf("read the head of a stream: %v", err)
			return
		}
		h := decodeHead(head)
		l.of(h.id) <- s.exchange(c, newPayload(s.block, ^h.id, h.down), h.order == downFirst, h.order == upFirst)
	})
	return l
}

// stream runs one stream and compares what both ends saw.
func (s *stage) stream(l *ledger, h streamHead) error {
	c, err := s.dial(s.tcp)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(h.encode()); err != nil {
		return err
	}
	client := s.exchange(c, newPayload(s.block, h.id, h.up), h.order == upFirst, h.order == downFirst)
	if client.err != nil {
		return fmt.Errorf("%v: client: %w", h.order, client.err)
	}
	server := <-l.of(h.id)
	switch {
	case server.err != nil:
		return fmt.Errorf("%v: server: %w", h.order, server.err)
	case client.sent.bytes != h.up || server.got != client.sent:
		return fmt.Errorf("%v: up: sent %v, got %v", h.order, client.sent, server.got)
	case server.sent.bytes != h.down || client.got != server.sent:
		return fmt.Errorf("%v: down: sent %v, got %v", h.order, server.sent, client.got)
	}
	return nil
}

// TestLayer4: TCP that the proxy detects, byte for byte, half-closed by either side.
func TestLayer4(t *testing.T) {
	const connections, total = 200, 1 << 30
	s := newStage(t, world.PodConfig{})
	l := s.serveStreams()
	s.forgetPeak()
	s.each(connections, func(i int) error {
		return s.stream(l, streamHead{order(i) % orders, uint64(i), total / connections, total / connections})
	})
	s.checkPeak("200 connections, 1 GiB each way")
	s.forgetPeak()
	s.each(1, func(int) error { return s.stream(l, streamHead{together, connections, total, total}) })
	s.checkPeak("one connection, 1 GiB each way")
	// The reasons tell whether the proxy took the stream for what it was.
	m, err := s.node.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := m.Sum("proxy_connections_total"); n != connections+1 {
		t.Errorf("%v connections went through the proxy, want %d", n, connections+1)
	}
	// A client that the machine held up after its connect is taken for TCP all the same.
	if n := m.Sum("proxy_connection_failures_total") - m.Sum("proxy_connection_failures_total", "reason", "detect_timeout"); n != 0 {
		t.Errorf("%v connections failed: %v", n, m.By("proxy_connection_failures_total", "reason"))
	}
	s.checkQuiet()
}

// TestShortStreams: what is half-closed at once, or empty, is passed on as well.
func TestShortStreams(t *testing.T) {
	s := newStage(t, world.PodConfig{})
	l := s.serveStreams()
	sizes := []int64{0, 1, 1460, 16 << 10, 16<<10 + 1, 300_000}
	s.each(len(sizes)*len(sizes)*int(orders), func(i int) error {
		up, down := sizes[i/int(orders)%len(sizes)], sizes[i/int(orders)/len(sizes)]
		return s.stream(l, streamHead{order(i) % orders, uint64(i), up, down})
	})
	s.checkQuiet()
}
