package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/test/world"
)

// badServer is a server's script and what a client gets.
type badServer struct {
	name   string
	script script
	status int // 0: no final response, the connection ends
	reason string
	body   string // what the body is; "": nothing is said about it
	cut    bool   // the body must look incomplete
	// most is how much of the body the client reads before it closes; 0: all.
	most int64
	// alone: the connection is not used again.
	alone bool
}

func badServers() []badServer {
	const protocol, reset = "upstream_protocol", "upstream_reset"
	broken := func(name, reason string, play script) badServer {
		return badServer{name: name, script: play, status: 502, reason: reason}
	}
	cut := func(name string, play script) badServer {
		return badServer{name: name, script: play, status: 200, cut: true}
	}
	const ok, chunked = "HTTP/1.1 200 OK|", "HTTP/1.1 200 OK|Transfer-Encoding: chunked||"
	return []badServer{
		broken("garbage", protocol, say("nonsense||")),
		broken("zeros", protocol, sayAndWait(strings.Repeat("\x00", 64<<10))),
		broken("tls", protocol, sayAndWait("\x15\x03\x01\x00\x02\x02\x16")),
		broken("close-at-once", reset, say("")),
		broken("reset-at-once", reset, sayAndReset("")),
		broken("close-mid-head", reset, say(ok+"Content-Le")),
		broken("reset-mid-head", reset, sayAndReset(ok+"Content-Le")),
		broken("endless-head", protocol, flood(ok, "A: b|")),
		broken("endless-line", protocol, flood(ok+"A: ", "bbbb")),
		broken("endless-status", protocol, flood("HTTP/1.1 200 ", "OK")),
		broken("many-fields", protocol, sayAndWait(ok+strings.Repeat("A: b|", 300)+"|")),
		broken("switch-uninvited", protocol, sayAndWait("HTTP/1.1 101 Switching Protocols|Connection: upgrade|Upgrade: x||hello")),
		cut("length-too-long", say(ok+"Content-Length: 100||0123456789")),
		cut("length-too-long-reset", sayAndReset(ok+"Content-Length: 100||0123456789")),
		cut("close-mid-chunk", say(chunked+"64|0123456789")),
		cut("close-after-chunk", say(chunked+"a|0123456789|")),
		cut("bad-chunk", sayAndWait(chunked+"a|0123456789|zz|")),
		{name: "length-too-short", script: sayAndWait(ok + "Content-Length: 10||0123456789surplus"), status: 200, body: "0123456789"},
		{name: "answers-twice", script: sayAndWait(ok + "Content-Length: 1||a" + ok + "Content-Length: 1||b"), status: 200, body: "a"},
		{name: "dribbles", script: dribble(ok + "Content-Length: 10||0123456789"), status: 200, body: "0123456789"},
		{name: "tiny-chunks", script: sayAndGoOn(chunked + strings.Repeat("1|x|", 10_000) + "0||"),
			status: 200, body: strings.Repeat("x", 10_000)},
		{name: "many-hints", script: say(hints(1000) + ok + "Content-Length: 2||ok"), status: 200, body: "ok"},
		{name: "too-many-hints", script: say(hints(2000) + ok + "Content-Length: 2||ok"), status: 502, reason: "upstream_protocol"},
		{name: "endless-hints", script: flood("", "HTTP/1.1 103 Early Hints||"), most: 1},
		{name: "endless-body", script: flood(chunked, "4|abcd|"), status: 200, most: 100_000},
		{name: "stalls", script: sayAndWait(ok + "Content-Length: 100||0123456789"), status: 200, most: 10},
		{name: "never-attempt", script: sayAndWait(""), status: 504, reason: "attempt_timeout"},
		{name: "never-request", script: sayAndWait(""), status: 504, reason: "request_timeout"},
		{name: "answers-and-closes-before-body", script: say("HTTP/1.1 413 Too Large|Content-Length: 3|Connection: close||big"), status: 413, body: "big"},
	}
}

// hints are n informational responses of 38 bytes; all before a final one may
// have 64 KiB.
func hints(n int) string { return strings.Repeat("HTTP/1.1 103 Early Hints|Link: </x>||", n) }

// ask makes one request for a bad server and looks at what comes.
func (s *stage) ask(b *badServer, to world.Service) error {
	c, err := s.dial(to)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: evil\r\n\r\n", b.name); err != nil {
		return err
	}
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	for hints := 0; err == nil && resp.StatusCode < 200; hints++ {
		if b.status == 0 && hints == 1000 {
			return nil // it would go on for ever: the client has enough
		}
		resp, err = http.ReadResponse(in, nil)
	}
	if err != nil {
		return fmt.Errorf("read the response: %w", err)
	}
	if reason := resp.Header.Get("x-culvert-reason"); resp.StatusCode != b.status || reason != b.reason {
		return fmt.Errorf("%s %q, want %d %q", resp.Status, reason, b.status, b.reason)
	}
	if b.most > 0 {
		_, err := io.CopyN(io.Discard, resp.Body, b.most)
		return err
	}
	body, err := io.ReadAll(resp.Body)
	switch {
	case b.cut && err == nil:
		return fmt.Errorf("a body that was cut looks complete: %q", body)
	case b.cut:
		return nil
	case err != nil:
		return fmt.Errorf("read the body: %w", err)
	case b.body != "" && b.body != string(body):
		return fmt.Errorf("body %.100q, want %.100q", body, b.body)
	case resp.Close || b.alone:
		return nil
	}
	return askEcho(c, in)
}

// askEcho: the connection is in step.
func askEcho(c io.Writer, in *bufio.Reader) error {
	if _, err := io.WriteString(c, "GET /echo HTTP/1.1\r\nHost: evil\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return fmt.Errorf("use the connection again: %w", err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "/echo 0" {
		return fmt.Errorf("use the connection again: %s %q %v", resp.Status, body, err)
	}
	return nil
}

// playBadServers: each fault gets the answer that fits it, many at a time.
func (s *stage) playBadServers(t *testing.T, to world.Service) {
	for _, b := range badServers() {
		t.Run(b.name, func(t *testing.T) {
			s.each(t, 10, func(int) error { return s.ask(&b, to) })
		})
	}
}
