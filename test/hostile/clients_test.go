package hostile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/culvert-mesh/culvert/test/world"
)

// playBadClients: each floods, dribbles or vanishes in its own way.
func (s *stage) playBadClients(t *testing.T, to world.Service) {
	t.Run("split at every byte", func(t *testing.T) { s.split(t, to) })
	t.Run("pipelined", func(t *testing.T) { s.each(t, 3, func(int) error { return s.pipeline(to, 10_000) }) })
	t.Run("heads up to the limits", func(t *testing.T) { s.heads(t, to) })
	t.Run("endless", func(t *testing.T) { s.endless(t, to) })
	t.Run("tiny chunks", func(t *testing.T) { s.each(t, 3, func(int) error { return s.tinyChunks(to, 200_000) }) })
	t.Run("vanishing", func(t *testing.T) { s.vanish(t, to) })
}

// read reads one final response whose body must be want.
func read(in *bufio.Reader, want string) error {
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || string(body) != want {
		return fmt.Errorf("%s %q %v, want %q", resp.Status, body, err, want)
	}
	return nil
}

// split sends one request in two parts, cut at every byte: one connection for
// each cut. Between the parts the node has other things to do, which it can only
// finish after it has seen the first ones.
func (s *stage) split(t *testing.T, to world.Service) {
	const text = "POST /split?a=b HTTP/1.1\r\nHost: evil\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n6\r\n world\r\n0\r\nT: u\r\n\r\n"
	conns := make([]*net.TCPConn, len(text))
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	for cut := range conns {
		c, err := s.dial(to)
		if err != nil {
			t.Fatal(err)
		}
		conns[cut] = c
		if _, err := io.WriteString(c, text[:cut]); err != nil {
			t.Fatal(err)
		}
	}
	s.each(t, 16, func(int) error { return s.ask(&badServer{name: "meanwhile", status: 200, body: "/meanwhile 0"}, to) })
	s.each(t, len(conns), func(cut int) error {
		if _, err := io.WriteString(conns[cut], text[cut:]); err != nil {
			return err
		}
		return read(bufio.NewReader(conns[cut]), "/split?a=b 11")
	})
}

// pipeline sends requests without waiting; they are answered in order.
func (s *stage) pipeline(to world.Service, n int) error {
	c, err := s.dial(to)
	if err != nil {
		return err
	}
	defer c.Close()
	sent := make(chan error, 1)
	go func() {
		out := bufio.NewWriter(c)
		for i := range n {
			// Every tenth has a body.
			body := strings.Repeat("x", i%10/9*(i%1000))
			fmt.Fprintf(out, "POST /%d HTTP/1.1\r\nHost: evil\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body)
		}
		sent <- out.Flush()
	}()
	in := bufio.NewReader(c)
	for i := range n {
		if err := read(in, fmt.Sprintf("/%d %d", i, i%10/9*(i%1000))); err != nil {
			return fmt.Errorf("answer %d: %w", i, err)
		}
	}
	return <-sent
}

// heads are as large as they may be, and one beyond.
func (s *stage) heads(t *testing.T, to world.Service) {
	fields := func(n int) string { return strings.Repeat("A: b\r\n", n-1) } // Host is one
	const limit = 64 << 10
	frame := len("GET /big HTTP/1.1\r\nHost: evil\r\nA: \r\n\r\n")
	for name, c := range map[string]struct {
		target, fields string
		status         int
		reason         string
	}{
		"fields":          {"/big", fields(128), 200, ""},
		"one field more":  {"/big", fields(129), 431, "head_too_large"},
		"bytes":           {"/big", "A: " + strings.Repeat("b", limit-frame) + "\r\n", 200, ""},
		"one byte more":   {"/big", "A: " + strings.Repeat("b", limit-frame+1) + "\r\n", 431, "head_too_large"},
		"target":          {"/" + strings.Repeat("a", 8<<10-1), "", 200, ""},
		"target too long": {"/" + strings.Repeat("a", 8<<10), "", 414, "target_too_long"},
	} {
		t.Run(name, func(t *testing.T) {
			s.each(t, 20, func(int) error {
				conn, err := s.dial(to)
				if err != nil {
					return err
				}
				defer conn.Close()
				if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: evil\r\n%s\r\n", c.target, c.fields); err != nil {
					return err
				}
				return readStatus(conn, c.status, c.reason)
			})
		})
	}
}

// readStatus reads one response, and the end of the connection where the node
// answered itself.
func readStatus(c io.Reader, status int, reason string) error {
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	if got := resp.Header.Get("x-culvert-reason"); resp.StatusCode != status || got != reason {
		return fmt.Errorf("%s %q, want %d %q", resp.Status, got, status, reason)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if reason == "" {
		return nil
	}
	if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("the connection stays: %w", err)
	}
	return nil
}

// endless heads are refused while they still come.
func (s *stage) endless(t *testing.T, to world.Service) {
	for name, c := range map[string]struct {
		head, piece string
		status      int
		reason      string
	}{
		"target":  {"GET /", "aaaa", 414, "target_too_long"},
		"method":  {"", "GGGG", 501, "not_implemented"}, // RFC 9112 3
		"name":    {"GET / HTTP/1.1\r\nHost: evil\r\n", "aaaa", 431, "head_too_large"},
		"value":   {"GET / HTTP/1.1\r\nHost: evil\r\nA: ", "bbbb", 431, "head_too_large"},
		"fields":  {"GET / HTTP/1.1\r\nHost: evil\r\n", "A: b\r\n", 431, "head_too_large"},
		"trailer": {"POST / HTTP/1.1\r\nHost: evil\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "A: b\r\n", 431, "head_too_large"},
		"chunk":   {"POST / HTTP/1.1\r\nHost: evil\r\nTransfer-Encoding: chunked\r\n\r\n1;", "aaaa", 400, "bad_request"},
	} {
		t.Run(name, func(t *testing.T) {
			s.each(t, 20, func(int) error {
				conn, err := s.dial(to)
				if err != nil {
					return err
				}
				defer conn.Close()
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, err := io.WriteString(conn, c.head)
					piece := strings.Repeat(c.piece, 500)
					// Bounded, so that the answer is not lost to a reset.
					for i := 0; err == nil && i < 100; i++ {
						_, err = io.WriteString(conn, piece)
					}
				}()
				err = readStatus(conn, c.status, c.reason)
				<-done
				return err
			})
		})
	}
}

// tinyChunks uploads a byte a chunk.
func (s *stage) tinyChunks(to world.Service, n int) error {
	c, err := s.dial(to)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.WriteString(c, "POST /tiny HTTP/1.1\r\nHost: evil\r\nTransfer-Encoding: chunked\r\n\r\n"+strings.Repeat("1\r\nx\r\n", n)+"0\r\n\r\n")
	if err != nil {
		return err
	}
	return read(bufio.NewReader(c), fmt.Sprintf("/tiny %d", n))
}

// vanish: clients that go at every stage, in order and with a reset.
func (s *stage) vanish(t *testing.T, to world.Service) {
	stages := []string{
		"", "G", "GET / HTTP/1.1\r\nHost: evil\r\n", "POST / HTTP/1.1\r\nHost: evil\r\nContent-Length: 100\r\n\r\n", "POST / HTTP/1.1\r\nHost: evil\r\nContent-Length: 100\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: evil\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "GET /never HTTP/1.1\r\nHost: evil\r\n\r\n",
		"GET /endless-body HTTP/1.1\r\nHost: evil\r\n\r\n", "GET /stalls HTTP/1.1\r\nHost: evil\r\n\r\n", "GET / HTTP/1.1\r\nHost: evil\r\n\r\nGET / HT",
	}
	const each = 20
	s.each(t, len(stages)*each, func(i int) error {
		c, err := s.dial(to)
		if err != nil {
			return err
		}
		if i%2 == 0 {
			_ = c.SetLinger(0)
		}
		if _, err := io.WriteString(c, stages[i/each]); err != nil {
			return err
		}
		if i%4 < 2 {
			return c.Close() // perhaps before the node has seen anything
		}
		var one [1]byte
		_ = c.SetReadDeadline(soon())
		_, _ = c.Read(one[:])
		return c.Close()
	})
}
