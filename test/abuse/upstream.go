package abuse

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// upstream is a server that reads leniently (net/http), so that it takes out of its
// input whatever a careless server would, and remembers it.
type upstream struct {
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex // guards the rest
	conns   map[net.Conn]bool
	scripts map[string]string
	taken   []request
}

// request is one that the upstream read.
type request struct {
	method, target, body string
	complete             bool
}

func (q request) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", q.method, q.target, q.body))
}

func serve(l net.Listener) *upstream {
	u := &upstream{listener: l, conns: map[net.Conn]bool{}, scripts: map[string]string{}}
	u.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			u.mu.Lock()
			u.conns[c] = true
			u.mu.Unlock()
			u.running.Go(func() { u.connection(c) })
		}
	})
	return u
}

func (u *upstream) stop() {
	u.listener.Close()
	u.mu.Lock()
	for c := range u.conns {
		c.Close()
	}
	u.mu.Unlock()
	u.running.Wait()
}

// script sets the raw answer for a target.
func (u *upstream) script(target, reply string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.scripts[target] = reply
}

// seen are the requests for the target, and those smuggled with it, in order.
func (u *upstream) seen(target string) (list []request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, q := range u.taken {
		if q.target == target || q.target == target+"/smuggled" {
			list = append(list, q)
		}
	}
	return list
}

func (u *upstream) connection(c net.Conn) {
	defer func() {
		c.Close()
		u.mu.Lock()
		delete(u.conns, c)
		u.mu.Unlock()
	}()
	in := bufio.NewReader(c)
	for u.one(c, in) {
	}
}

// one reads a request and answers it; false: the connection ends. A scripted answer
// that starts with {early} is given before the body is read; {close} at its end
// closes.
func (u *upstream) one(c net.Conn, in *bufio.Reader) bool {
	q, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	target, _, _ := strings.Cut(q.RequestURI, "?")
	u.mu.Lock()
	reply := u.scripts[target]
	u.mu.Unlock()
	if strings.EqualFold(q.Header.Get("Expect"), "100-continue") && reply == "" {
		if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return false
		}
	}
	early, isEarly := strings.CutPrefix(reply, "{early}")
	if isEarly {
		if _, err := io.WriteString(c, early); err != nil {
			return false
		}
	}
	body, err := io.ReadAll(q.Body)
	u.mu.Lock()
	u.taken = append(u.taken, request{q.Method, target, string(body), err == nil})
	u.mu.Unlock()
	if err != nil || isEarly {
		return err == nil
	}
	if reply == "" {
		text := answer(target)
		reply = fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(text))
		if q.Method != "HEAD" {
			reply += text
		}
	}
	reply, closes := strings.CutSuffix(reply, "{close}")
	if _, err := io.WriteString(c, reply); err != nil {
		return false
	}
	return !closes
}
