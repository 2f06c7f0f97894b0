package bytes

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/culvert-mesh/culvert/test/world"
)

// call is one request on a connection. What the server is to answer is in its
// header.
type call struct {
	id                     uint64
	up, down               int64
	upChunked, downChunked bool
	// duplex: the server answers while the request is still coming, and the
	// client reads while it sends.
	duplex bool
	last   bool
}

const (
	downField   = "X-Down"   // bytes of the response, then chunked or not
	duplexField = "X-Duplex" // answer at once
)

func (c *call) String() string { return fmt.Sprintf("call %+v", *c) }

func framing(chunked bool, size int64) string {
	if chunked {
		return "Transfer-Encoding: chunked\r\n"
	}
	return fmt.Sprintf("Content-Length: %d\r\n", size)
}

// send writes the request; the payload has its own segments.
func (c *call) send(to net.Conn, p *payload) error {
	head := fmt.Sprintf("POST /%d HTTP/1.1\r\nHost: web\r\n%s: %d %t %d\r\n%s", c.id, downField, c.down, c.downChunked, c.id, framing(c.upChunked, c.up))
	if c.duplex {
		head += duplexField + ": yes\r\n"
	}
	if c.last {
		head += "Connection: close\r\n"
	}
	return sendMessage(to, head+"\r\n", p, c.upChunked)
}

func sendMessage(to net.Conn, head string, p *payload, chunked bool) error {
	if _, err := io.WriteString(to, head); err != nil {
		return fmt.Errorf("send a head: %w", err)
	}
	if chunked {
		return p.writeChunked(to)
	}
	return p.write(to)
}

// serveCalls answers calls until the test ends.
func (s *stage) serveCalls() *ledger {
	l := &ledger{}
	s.serve(httpPort, func(c *net.TCPConn) {
		in := reader(s.paced(c))
		for s.answer(l, c, in) {
		}
	})
	return l
}

// answer answers one call; false: the connection is over.
func (s *stage) answer(l *ledger, c *net.TCPConn, in *bufio.Reader) bool {
	q, err := http.ReadRequest(in)
	if err != nil {
		return false // idle connections end as they like; a lost call is missed by its client
	}
	var down int64
	var chunked bool
	var id uint64
	if _, err := fmt.Sscan(q.Header.Get(downField), &down, &chunked, &id); err != nil {
		s.t.Errorf("the head is not as it was: %v: %v", q.Header, err)
		return false
	}
	p := newPayload(s.block, ^id, down)
	head := "HTTP/1.1 200 OK\r\n" + framing(chunked, down) + "\r\n"
	var saw seen
	if q.Header.Get(duplexField) != "" {
		sent := make(chan error, 1)
		go func() { sent <- sendMessage(c, head, p, chunked) }()
		saw.got, err = readAll(q.Body)
		saw.err = errors.Join(err, <-sent)
	} else if saw.got, saw.err = readAll(q.Body); saw.err == nil {
		saw.err = sendMessage(c, head, p, chunked)
	}
	saw.sent = p.sent
	l.of(id) <- saw
	return saw.err == nil && !q.Close
}

// call makes one call on a connection and compares what both ends saw.
func (s *stage) call(l *ledger, c net.Conn, in *bufio.Reader, k *call) error {
	p := newPayload(s.block, k.id, k.up)
	sent := make(chan error, 1)
	go func() { sent <- k.send(c, p) }()
	if !k.duplex {
		if err := <-sent; err != nil {
			return fmt.Errorf("%v: %w", k, err)
		}
		sent <- nil
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return fmt.Errorf("%v: read the response: %w", k, err)
	}
	got, err := readAll(resp.Body)
	if err = errors.Join(err, <-sent); err != nil || resp.StatusCode != 200 {
		return fmt.Errorf("%v: %s %v %w", k, resp.Status, resp.Header, err)
	}
	server := <-l.of(k.id)
	switch {
	case server.err != nil:
		return fmt.Errorf("%v: server: %w", k, server.err)
	case p.sent.bytes != k.up || server.got != p.sent:
		return fmt.Errorf("%v: up: sent %v, got %v", k, p.sent, server.got)
	case server.sent.bytes != k.down || got != server.sent:
		return fmt.Errorf("%v: down: sent %v, got %v", k, server.sent, got)
	}
	return nil
}

// calls makes calls one after the other on a connection, the last one duplex.
func (s *stage) calls(l *ledger, list []call) error {
	c, err := s.dial(s.http)
	if err != nil {
		return err
	}
	defer c.Close()
	in := reader(s.paced(c))
	for i := range list {
		if err := s.call(l, c, in, &list[i]); err != nil {
			return err
		}
	}
	return nil
}

// TestLayer7: bodies of requests and responses, with a length and chunked, on
// connections that carry several, byte for byte.
func TestLayer7(t *testing.T) {
	const connections, each, total = 200, 5, 1 << 30
	s := newStage(t, world.PodConfig{})
	l := s.serveCalls()
	s.forgetPeak()
	s.each(connections, func(i int) error {
		list := make([]call, each)
		for k := range list {
			size := int64(total / connections / each)
			list[k] = call{id: uint64(i*each + k), up: size, down: size, upChunked: (i+k)%2 == 0, downChunked: (i+k)/2%2 == 0}
		}
		list[each-1].duplex, list[each-1].last = true, true
		return s.calls(l, list)
	})
	s.checkPeak("200 connections, 1 GiB each way")
	s.forgetPeak()
	s.each(2, func(i int) error {
		one := call{id: uint64(connections*each + i), last: true, upChunked: i == 1, downChunked: i == 0}
		if i == 0 {
			one.up = total
		} else {
			one.down = total
		}
		return s.calls(l, []call{one})
	})
	s.checkPeak("one response and one request of 1 GiB")
	m, err := s.node.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := m.Sum("proxy_requests_total"), m.Sum("proxy_requests_total", "status", "200", "reason", "none"); n != connections*each+2 || ok != n {
		t.Errorf("%v requests, %v of them answered with 200; want %d", n, ok, connections*each+2)
	}
	s.checkQuiet()
}
