package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/culvert-mesh/culvert/test/world"
)

// script is what a server does on a connection after it has read a request's
// head; true: it reads the next request.
type script func(c *net.TCPConn, q *http.Request) bool

// say writes text ("|" is CRLF) and closes.
func say(text string) script {
	text = strings.ReplaceAll(text, "|", "\r\n")
	return func(c *net.TCPConn, _ *http.Request) bool {
		_, _ = io.WriteString(c, text)
		return false
	}
}

// sayAndReset writes text and resets.
func sayAndReset(text string) script {
	return func(c *net.TCPConn, q *http.Request) bool {
		say(text)(c, q)
		_ = c.SetLinger(0)
		return false
	}
}

// sayAndGoOn writes text and reads the next request.
func sayAndGoOn(text string) script {
	return func(c *net.TCPConn, q *http.Request) bool {
		say(text)(c, q)
		return true
	}
}

// sayAndWait writes text and keeps the connection until the other side closes.
func sayAndWait(text string) script {
	return func(c *net.TCPConn, q *http.Request) bool {
		say(text)(c, q)
		_, _ = io.Copy(io.Discard, c)
		return false
	}
}

// flood writes head, and piece until the other side closes.
func flood(head, piece string) script {
	piece = strings.Repeat(strings.ReplaceAll(piece, "|", "\r\n"), 2000)
	return func(c *net.TCPConn, q *http.Request) bool {
		say(head)(c, q)
		for {
			if _, err := io.WriteString(c, piece); err != nil {
				return false
			}
		}
	}
}

// dribble writes text a byte at a time.
func dribble(text string) script {
	text = strings.ReplaceAll(text, "|", "\r\n")
	return func(c *net.TCPConn, _ *http.Request) bool {
		for i := range len(text) {
			if _, err := c.Write([]byte{text[i]}); err != nil {
				return false
			}
		}
		return true
	}
}

// echo answers with the target and what it has seen of the body.
func echo(c *net.TCPConn, q *http.Request) bool {
	n, err := io.Copy(io.Discard, q.Body)
	if err != nil {
		return false
	}
	body := fmt.Sprintf("%s %d", q.RequestURI, n)
	_, err = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return err == nil && !q.Close
}

// serveScripts plays scripts by the first part of the request's path; others are
// echoed.
func (s *stage) serveScripts(scripts map[string]script) {
	s.t.Helper()
	l, err := s.server.Listen("tcp", fmt.Sprintf(":%d", scriptPort))
	if err != nil {
		s.t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(2 * patience))
				in := bufio.NewReader(c)
				for {
					q, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					name, _, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/"), "/")
					play := scripts[name]
					if play == nil {
						play = echo
					}
					if !play(c.(*net.TCPConn), q) {
						return
					}
				}
			})
		}
	})
	s.t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
}

// route gives two paths of a service timeouts, and leaves the rest as it is.
func route(service world.Service) string {
	rule := func(path, timeouts string) string {
		return fmt.Sprintf("  - matches:\n    - path: {type: PathPrefix, value: %s}\n%s    backendRefs:\n    - {name: %s, port: 80}\n", path, timeouts, service.Name)
	}
	return "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: evil\n  namespace: default\nspec:\n  parentRefs:\n" +
		"  - {group: \"\", kind: Service, name: " + service.Name + "}\n  rules:\n" +
		rule("/never-attempt", "    timeouts: {backendRequest: 300ms}\n") + rule("/never-request", "    timeouts: {request: 300ms}\n") + rule("/", "")
}
