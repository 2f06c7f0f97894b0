package hostile

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/abuse"
	"github.com/culvert-mesh/culvert/test/world"
)

// TestDifferential: two servers that parse in their own ways find in what the
// node forwards of the catalogue as many requests as the node says it forwarded,
// and nothing that they refuse.
func TestDifferential(t *testing.T) {
	t.Run("net/http", func(t *testing.T) {
		s := newStage(t)
		var seen atomic.Int64
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			seen.Add(1)
			_, _ = io.Copy(io.Discard, q.Body)
			fmt.Fprint(w, "net/http")
		})}
		l, err := s.server.Listen("tcp", fmt.Sprintf(":%d", plainPort))
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = server.Serve(l) }()
		t.Cleanup(func() { _ = server.Shutdown(context.WithoutCancel(t.Context())) })
		s.playBehind(func() (int, error) { return int(seen.Load()), nil })
	})
	t.Run("nginx", func(t *testing.T) {
		binary := nginx(t)
		s := newStage(t)
		log := s.startNginx(binary)
		s.playBehind(func() (int, error) {
			text, err := os.ReadFile(log)
			return strings.Count(string(text), "\n"), err
		})
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			// Bodies that break on the way end in a 400 or 408 of nginx, too.
			if !strings.HasPrefix(line, "200 ") && !strings.HasPrefix(line, "400 POST") {
				t.Errorf("nginx: %s", line)
			}
		}
	})
}

// playBehind sends the catalogue to the server at plainPort and compares counts.
func (s *stage) playBehind(seen func() (int, error)) {
	s.t.Helper()
	service := s.publish("plain", plainPort, s.server)
	s.listed(service.VIP4.String())
	list := abuse.Sends("plain.test")
	s.each(s.t, 20, func(worker int) error {
		for i := worker; i < len(list); i += 20 {
			if err := s.sendAndEnd(service, list[i]); err != nil {
				return fmt.Errorf("%w\nsent %.300q", err, list[i])
			}
		}
		return nil
	})
	var forwarded, got int
	err := world.Wait(s.t.Context(), "the counts to be equal", func() (bool, error) {
		attempts := s.metrics().By("proxy_attempts_total", "outcome", "service", "default/plain:80")
		forwarded = 0
		for outcome, n := range attempts {
			if outcome != "connect_failed" && outcome != "stale" {
				forwarded += int(n)
			}
		}
		var err error
		got, err = seen()
		return got == forwarded && got > 0, err
	})
	s.t.Logf("of %d messages %d requests were forwarded", len(list), forwarded)
	if err != nil {
		s.t.Errorf("the node forwarded %d requests, the server saw %d: %v", forwarded, got, err)
	}
	s.checkUnharmed()
}

// sendAndEnd sends text and a good last request, and reads until the connection
// is closed.
func (s *stage) sendAndEnd(to world.Service, text string) error {
	c, err := s.dial(to)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(c, text+"GET /last HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n")
	}()
	_, err = io.Copy(io.Discard, c)
	if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
		err = nil // a reset is an end, too: the node may have closed before all was sent
	}
	<-sent
	return err
}

func nginx(t *testing.T) string {
	t.Helper()
	binary, err := exec.LookPath("nginx")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("needs nginx: %v", err)
	}
	return binary
}

// startNginx starts nginx in the server's pod; log is where it writes a line per
// request: status, method, target.
func (s *stage) startNginx(binary string) (log string) {
	s.t.Helper()
	dir := s.t.TempDir()
	log = filepath.Join(dir, "access.log")
	config := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; worker_processes 1; user root; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 1024; }
http {
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  log_format seen '$status $request_method $request_uri';
  access_log %[1]s/access.log seen;
  server { listen %[2]d; location / { return 200 "nginx\n"; } }
}
`, dir, plainPort)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.T.Start(s.server.Place, binary, "-p", dir, "-c", config, "-e", filepath.Join(dir, "error.log"))
	if err := s.server.WaitListen(s.t.Context(), plainPort); err != nil {
		s.t.Fatal(err)
	}
	return log
}
