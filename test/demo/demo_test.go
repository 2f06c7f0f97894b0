package main_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/culvert-mesh/culvert/test/world"
	"golang.org/x/sys/unix"
)

// binaries are built once, for all tests of this package.
type binaries struct{ culvert, peer, demo string }

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "culvert-demo-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	built.dir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

var built struct {
	once sync.Once
	dir  string
	err  error
	binaries
}

func build(t *testing.T) binaries {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("the demo needs root")
		}
		t.Skip("the demo needs root")
	}
	built.once.Do(func() {
		for _, b := range []struct {
			path      *string
			name, pkg string
		}{
			{&built.culvert, "culvert", "../.."}, {&built.peer, "culvert-peer", "../peer/culvert-peer"}, {&built.demo, "culvert-demo", "."},
		} {
			*b.path = filepath.Join(built.dir, b.name)
			if out, err := exec.Command("go", "build", "-o", *b.path, b.pkg).CombinedOutput(); err != nil {
				built.err = fmt.Errorf("build %s: %w\n%s", b.pkg, err, out)
				return
			}
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.binaries
}

// run is a demo under way, in a process group of its own, as a shell starts it.
type run struct {
	t     *testing.T
	cmd   *exec.Cmd
	mark  string // in the environment of every process of the demo
	temp  string // its TMPDIR
	host  string // the machine's own links and routes before
	stdin io.WriteCloser
	out   io.Closer

	lines chan string // closed at the end of the output
	text  bytes.Buffer
	cg    cgroupID
}

func start(t *testing.T, args ...string) *run {
	t.Helper()
	b := build(t)
	r := &run{t: t, mark: fmt.Sprintf("CULVERT_DEMO_TEST=%d.%d", os.Getpid(), rand.Uint64()), temp: t.TempDir(), host: hostNetwork(t), lines: make(chan string, 10000)}
	r.cmd = exec.Command(b.demo, append([]string{"-binary", b.culvert, "-peer", b.peer}, args...)...)
	r.cmd.Env = append(os.Environ(), r.mark, "TMPDIR="+r.temp)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.cmd.Stderr, r.out = r.cmd.Stdout, out
	if r.stdin, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// until reads the output up to a line that holds text; "" reads nothing.
func (r *run) until(text string) {
	r.t.Helper()
	if text == "" {
		return
	}
	late := time.After(2 * time.Minute)
	for {
		select {
		case line, more := <-r.lines:
			if !more {
				r.t.Fatalf("the demo ended before it said %q:\n%s", text, r.text.String())
			}
			r.text.WriteString(line + "\n")
			if strings.Contains(line, text) {
				return
			}
		case <-late:
			r.t.Fatalf("the demo does not say %q:\n%s", text, r.text.String())
		}
	}
}

// wait reads the rest of the output and returns the exit status.
func (r *run) wait() syscall.WaitStatus {
	r.t.Helper()
	late := time.AfterFunc(2*time.Minute, func() { _ = r.cmd.Process.Kill() })
	defer late.Stop()
	for line := range r.lines {
		r.text.WriteString(line + "\n")
	}
	_ = r.cmd.Wait()
	return r.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

func (r *run) signal(s syscall.Signal) {
	r.t.Helper()
	// To the whole group, as a terminal does.
	if err := unix.Kill(-r.cmd.Process.Pid, s); err != nil {
		r.t.Fatalf("signal the demo: %v", err)
	}
}

// busy is what the demo says when the machine starved the proxy: its claims are
// about a machine that works.
const busy = "This machine is too busy"

// Every claim of an undisturbed run holds, and it fits a terminal.
func TestDemo(t *testing.T) {
	for try := 1; ; try++ {
		r := start(t)
		r.until("Split by weight")
		r.noteCgroup()
		if len(r.processes()) == 0 || len(r.links()) == 0 {
			t.Errorf("the test is blind: it sees processes %v and BPF links %v of a demo that runs", r.processes(), r.links())
		}
		status := r.wait()
		r.nothingLeft(0)
		if strings.Contains(r.text.String(), busy) && try < 4 {
			t.Log("the machine was too busy for the demo; once more")
			continue
		}
		if !status.Exited() || status.ExitStatus() != 0 {
			t.Errorf("exit %v", status)
		}
		r.wellFormed()
		return
	}
}

// wellFormed checks the page of a demo that went well.
func (r *run) wellFormed() {
	r.t.Helper()
	text := r.text.String()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 {
			r.t.Errorf("a line has %d columns: %s", n, line)
		}
	}
	if !strings.Contains(text, "claims hold, in") || strings.Contains(text, "✗") || r.t.Failed() {
		r.t.Errorf("the demo said:\n%s", text)
	}
}

// Wherever it is interrupted, nothing is left at the moment at which it ends.
func TestInterrupted(t *testing.T) {
	for _, c := range []struct {
		at     string // the line of progress; "": at once
		after  time.Duration
		signal syscall.Signal
	}{
		{"", 0, unix.SIGINT},
		{"", 10 * time.Millisecond, unix.SIGTERM},
		{"shown on this machine", 0, unix.SIGINT},
		{"A world", 20 * time.Millisecond, unix.SIGHUP},
		{"A world", 100 * time.Millisecond, unix.SIGTERM},
		{"pods ", 0, unix.SIGTERM},
		{"policy ", 0, unix.SIGINT},
		{"culvert check", 15 * time.Millisecond, unix.SIGINT},
		{"Captured in the kernel", 0, unix.SIGHUP},
		{"Split by weight", 0, unix.SIGINT},
		{"Retried and rescued", 100 * time.Millisecond, unix.SIGTERM},
		{"Ejected and back", 500 * time.Millisecond, unix.SIGINT},
		{"Policy edited", 300 * time.Millisecond, unix.SIGHUP},
		{"Opaque TCP", 10 * time.Millisecond, unix.SIGINT},
		{"What it costs", 700 * time.Millisecond, unix.SIGTERM},
		{"What the metrics say", 0, unix.SIGINT},
		{"Killed, and started", 500 * time.Millisecond, unix.SIGTERM},
		{"", time.Duration(rand.Int64N(int64(3 * time.Second))), unix.SIGINT},
		{"", time.Duration(rand.Int64N(int64(3 * time.Second))), unix.SIGTERM},
	} {
		t.Run(fmt.Sprintf("%v %v after %s", c.signal, c.after, c.at), func(t *testing.T) {
			t.Parallel()
			r := start(t)
			r.until(c.at)
			r.noteCgroup()
			<-time.After(c.after) // any moment will do: this is no waiting for something
			r.signal(c.signal)
			// A second Ctrl-C of an impatient person changes nothing.
			_ = unix.Kill(-r.cmd.Process.Pid, c.signal)
			status := r.wait()
			// Before its first line it may not have taken signals over.
			early := status.Signaled() && status.Signal() == c.signal && r.text.Len() == 0
			if !early && (!status.Exited() || status.ExitStatus() != 130) {
				t.Errorf("exit %d, signal %v\n%s", status.ExitStatus(), status.Signal(), r.text.String())
			}
			r.nothingLeft(0)
		})
	}
}

// What cannot clean up after itself is cleaned up after.
func TestKilled(t *testing.T) {
	for _, at := range []string{"", "shown on this machine", "A world", "pods ", "culvert check", "Split by weight", "Ejected and back", "Policy edited"} {
		t.Run("after "+at, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			r.until(at)
			r.noteCgroup()
			_ = r.cmd.Process.Kill()
			r.wait()
			r.nothingLeft(20 * time.Second)
		})
	}
}

// A reader that goes away (make demo | head) ends the demo, and leaves nothing.
func TestReaderGoesAway(t *testing.T) {
	r := start(t)
	r.until("pods ")
	r.noteCgroup()
	r.out.Close()
	r.wait()
	r.nothingLeft(20 * time.Second)
}

// nothingLeft looks for everything that a demo makes. The patience is for a
// demo that was killed: its guard needs a moment.
func (r *run) nothingLeft(patience time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience+time.Millisecond)
	defer cancel()
	var left []string
	if err := world.Wait(ctx, "nothing", func() (bool, error) {
		left = r.left()
		return len(left) == 0, nil
	}); err != nil {
		r.t.Errorf("left behind:\n%s\nthe demo said:\n%s", strings.Join(left, "\n"), r.text.String())
	}
}
