package abuse

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

type runner struct {
	Config
	up *upstream
}

// attack plays one probe.
func (r *runner) attack(t *testing.T, p *probe, target string) {
	if p.reply != "" {
		r.up.script(target, p.reply)
	}
	c, err := r.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(r.Patience))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		write(c, p.send, p.dribble)
	}()
	in := bufio.NewReader(c)
	for i, want := range p.want {
		last := i == len(p.want)-1
		body, err := readAnswer(in, p.send, want, last && p.cut)
		if i == 0 && strings.Contains(body, "smuggled") {
			err = fmt.Errorf("the body is another request's: %q", body)
		}
		if err != nil {
			t.Fatalf("answer %d: %v\nsent %.300q", i+1, err, p.send)
		}
	}
	if p.open || p.either {
		<-sent
		if err := r.useAgain(c, in, target); err != nil && !(p.either && isClosed(err)) {
			t.Errorf("use the connection again: %v\nsent %.300q", err, p.send)
		}
	} else if err := closed(in); err != nil {
		t.Errorf("%v\nsent %.300q", err, p.send)
	}
	c.Close()
	<-sent
	if p.reply != "" {
		r.checkAlive(t, target) // a poisoned upstream connection would answer this
	}
}

// write ignores errors: the proxy may close as soon as it has seen enough.
func write(c net.Conn, s string, dribble bool) {
	step := len(s)
	if dribble {
		step = 1
	}
	for at := 0; at < len(s); at += step {
		if _, err := io.WriteString(c, s[at:min(len(s), at+step)]); err != nil {
			return
		}
	}
}

// readAnswer reads one final response and its body.
func readAnswer(in *bufio.Reader, sent string, want int, cut bool) (text string, err error) {
	method, _, _ := strings.Cut(sent, " ")
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return "", fmt.Errorf("read a response: %w", err)
		}
		if resp.StatusCode < 200 && resp.StatusCode != 101 {
			continue
		}
		if resp.StatusCode != want {
			return "", fmt.Errorf("status %d, want %d", resp.StatusCode, want)
		}
		if resp.StatusCode == 101 {
			return "", nil
		}
		body, err := io.ReadAll(resp.Body)
		if cut && err == nil {
			return "", fmt.Errorf("a body that was cut looks complete: %q", body)
		}
		if !cut && err != nil {
			return "", fmt.Errorf("read the body: %w", err)
		}
		return string(body), nil
	}
}

// closed: nothing more comes, and the proxy ended the connection.
func closed(in *bufio.Reader) error {
	rest, err := io.ReadAll(in)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("the connection stayed open")
	case len(rest) > 0:
		return fmt.Errorf("more came: %.200q", rest)
	}
	return nil // EOF, or a reset because we had sent more
}

// useAgain: the connection is in step.
func (r *runner) useAgain(c net.Conn, in *bufio.Reader, target string) error {
	again := target + "/again"
	write(c, "GET "+again+" HTTP/1.1\r\nHost: "+r.Host+"\r\n\r\n", false)
	return readNamed(in, again)
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// checkAlive sends good requests on new connections: each must get its own answer.
func (r *runner) checkAlive(t *testing.T, target string) {
	t.Helper()
	for i := range 3 {
		c, err := r.Dial()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(r.Patience))
		alive := fmt.Sprintf("%s/alive%d", target, i)
		write(c, "GET "+alive+" HTTP/1.1\r\nHost: "+r.Host+"\r\n\r\n", false)
		if err := readNamed(bufio.NewReader(c), alive); err != nil {
			t.Errorf("good request afterwards: %v", err)
		}
		c.Close()
	}
}

// readNamed reads the answer to a good request for the target.
func readNamed(in *bufio.Reader, target string) error {
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || string(body) != answer(target) {
		return fmt.Errorf("%d %q %v, want %q", resp.StatusCode, body, err, answer(target))
	}
	return nil
}

func answer(target string) string { return "this is " + target + "\n" }
