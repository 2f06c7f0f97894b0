package apps

import (
	"bufio"
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// greetingBound is how long the greeting of a server that speaks first may take
// through detection, at best: machines are busy.
const greetingBound = 100 * time.Millisecond

// greeter: a client that waits for the server's word gets it at once, on a port that
// declares nothing.
func greeter(t *testing.T, f *fixture) {
	if _, err := f.server.TCPPeer(t.Context(), greeterPort, "--greeting", "J\n8.0.36-greeter\n"); err != nil {
		t.Fatal(err)
	}
	const tries = 5
	for _, v6 := range []bool{false, true} {
		s := service{"greeter-any", v6}
		best := time.Minute
		f.went(t, f.client, s, way{TCP: tries}, func() {
			for range tries {
				best = min(best, f.greeting(t, s, "J"))
			}
		})
		t.Logf("%v: the quickest of %d greetings came after %v", s, tries, best)
		if best > greetingBound {
			t.Errorf("%v: the quickest of %d greetings came after %v, want under %v", s, tries, best, greetingBound)
		}
	}
}

// greeting connects, says nothing and returns when the first line has come.
func (f *fixture) greeting(t *testing.T, s service, want string) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	start := time.Now()
	c, err := f.client.Dial(ctx, "tcp", f.addr(t, s).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	line, err := bufio.NewReader(c).ReadString('\n')
	took := time.Since(start)
	if err != nil || !strings.Contains(line, want) {
		t.Fatalf("%v greeted with %q, %v; want %q", s, line, err, want)
	}
	return took
}

// smtp: curl and Python's smtplib wait for the greeting, then speak in turns.
func smtp(t *testing.T, f *fixture) {
	f.serve(t, "smtp", smtpPort, "python3", script(t, "smtpd.py"), strconv.Itoa(smtpPort), filepath.Join(f.dir, "mail"))
	letter := f.write(t, "letter", "Subject: hello\r\n\r\nsent through the proxy\r\n")
	for _, v6 := range []bool{false, true} {
		s := service{"smtp-any", v6}
		addr := f.addr(t, s)
		f.went(t, f.client, s, way{TCP: 1}, func() {
			f.run(t, f.client, "curl", "-sS", "smtp://"+addr.String(), "--mail-from", "a@example.test", "--mail-rcpt", "b@example.test", "-T", letter)
		})
		mustContain(t, f.read(t, "mail"), "sent through the proxy")
		f.went(t, f.client, s, way{TCP: 1}, func() { f.python(t, "smtp", addr.Addr().String(), fmt.Sprint(addr.Port())) })
		mustContain(t, f.read(t, "mail"), "by smtplib")
		f.went(t, f.client, s, way{TCP: 1}, func() { f.greeting(t, s, "220") })
	}
}

// ftp: vsftpd greets first. The data connection goes to the pod's own address,
// which no service has: it is not captured.
func ftp(t *testing.T, f *fixture) {
	f.ftpd(t)
	for _, v6 := range []bool{false, true} {
		s := service{"ftp-any", v6}
		url := "ftp://" + f.addr(t, s).String() + "/file"
		f.went(t, f.client, s, way{TCP: 1}, func() {
			mustContain(t, f.run(t, f.client, "curl", "-sS", "-I", url), "Content-Length: 140000")
		})
	}
	s := service{"ftp-any", false}
	f.went(t, f.client, s, way{TCP: 1}, func() {
		out := f.run(t, f.client, "curl", "-sS", "--disable-epsv", "--no-ftp-skip-pasv-ip", "ftp://"+f.addr(t, s).String()+"/file")
		if want := strings.Repeat("served by ftp\n", 10000); out != want {
			t.Errorf("%d bytes came, want %d", len(out), len(want))
		}
	})
}

// sshAndGit: both sides of SSH speak at once. git clones over it and over HTTP.
func sshAndGit(t *testing.T, f *fixture) {
	f.nginx(t)
	key := f.sshd(t)
	repository := filepath.Join(f.dir, "www/code.git")
	f.run(t, f.outsider, "git", "init", "-q", "--bare", "-b", "main", repository)
	work := filepath.Join(f.dir, "work")
	f.run(t, f.outsider, "git", "init", "-q", "-b", "main", work)
	f.write(t, "work/file", strings.Repeat("a line of code\n", 50000))
	identity := []string{"git", "-C", work, "-c", "user.name=n", "-c", "user.email=n@example.test"}
	f.run(t, f.outsider, append(identity, "add", "file")...)
	f.run(t, f.outsider, append(identity, "commit", "-q", "-m", "first")...)

	for _, v6 := range []bool{false, true} {
		s, web := service{"ssh-any", v6}, service{"site-any", v6}
		addr := f.addr(t, s)
		options := []string{"-F", "none", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"}
		f.went(t, f.client, s, way{TCP: 1}, func() {
			out := f.run(t, f.client, append(append([]string{"ssh"}, options...), "root@"+addr.Addr().String(), "echo $SSH_CONNECTION; head -c 3000000 /dev/zero | wc -c")...)
			mustContain(t, out, f.source(f.client, s), "3000000")
		})
		overSSH := "ssh://root@" + f.addr(t, s).String() + repository
		ssh := "core.sshCommand=" + find(t, "ssh") + " " + strings.Join(options, " ")
		f.went(t, f.client, s, way{TCP: 2}, func() {
			f.run(t, f.client, "git", "-C", work, "-c", ssh, "push", "-q", overSSH, "main")
			f.run(t, f.client, "git", "-c", ssh, "clone", "-q", overSSH, filepath.Join(f.dir, fmt.Sprint("ssh", v6)))
		})
		f.run(t, f.outsider, "git", "-C", repository, "update-server-info")
		before := f.metrics(t).Sum("proxy_requests_total", "service", f.key(t, web))
		f.run(t, f.client, "git", "clone", "-q", f.url(t, web)+"/code.git", filepath.Join(f.dir, fmt.Sprint("http", v6)))
		if n := f.metrics(t).Sum("proxy_requests_total", "service", f.key(t, web)) - before; n < 5 {
			t.Errorf("git clone over HTTP was %v requests to the proxy", n)
		}
		for _, way := range []string{"ssh", "http"} {
			if f.read(t, fmt.Sprint(way, v6)+"/file") != f.read(t, "work/file") {
				t.Errorf("git clone over %s brought another file", way)
			}
		}
	}
}
