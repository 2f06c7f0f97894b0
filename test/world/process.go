package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command says what to start. Only Args is needed.
type Command struct {
	// Args is the command line; Args[0] is looked up in PATH.
	Args []string
	// Env is added to the environment of the calling process.
	Env   []string
	Dir   string
	Stdin io.Reader
	// Stdout and Stderr get the output too, beside Process.Output.
	Stdout, Stderr io.Writer
	// Files are descriptors 3 and following of the process.
	Files []*os.File
}

// Process is a started command.
type Process struct {
	// set at construction
	PID  int
	Args []string
	cmd  *exec.Cmd
	log  *tail
	done chan struct{} // closed when the process was waited for
	err  error         // set before done is closed
}

// Start starts a command in the place: in its namespace and in its cgroup from
// its first instruction on. The process is killed when ctx ends, and when the
// world is closed.
func (p *Place) Start(ctx context.Context, c Command) (*Process, error) {
	cgroup, err := os.Open(p.Cgroup)
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	defer cgroup.Close()

	proc := &Process{Args: c.Args, log: &tail{}, done: make(chan struct{})}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Dir, cmd.Stdin, cmd.ExtraFiles = c.Dir, c.Stdin, c.Files
	cmd.Stdout, cmd.Stderr = proc.log.and(c.Stdout), proc.log.and(c.Stderr)
	// A child that keeps the pipe open must not hold Wait for ever.
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		UseCgroupFD: true, CgroupFD: int(cgroup.Fd()),
		// Ctrl-C in a terminal is for the owner of the world, who then stops
		// the rest in order.
		Setpgid: true,
	}
	// The process inherits the namespace of the thread that forks it.
	if err := p.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", c.Args[0], p.Name, err)
	}
	proc.cmd, proc.PID = cmd, cmd.Process.Pid
	go func() {
		proc.err = cmd.Wait()
		close(proc.done)
	}()
	p.mu.Lock()
	p.processes = append(p.processes, proc)
	p.mu.Unlock()
	return proc, nil
}

// Run starts a command, waits for its end and returns what it wrote to
// standard output and standard error. A non-zero exit is an error that holds
// the output's end.
func (p *Place) Run(ctx context.Context, args ...string) (string, error) {
	proc, err := p.Start(ctx, Command{Args: args})
	if err != nil {
		return "", err
	}
	if err := proc.Wait(ctx); err != nil {
		return proc.Output(), fmt.Errorf("run %s in %s: %w\n%s", filepath.Base(args[0]), p.Name, err, lastLines(proc.Output(), 20))
	}
	return proc.Output(), nil
}

// Wait waits for the process's end, and returns its exit error.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", p.Args[0], context.Cause(ctx))
	}
}

// Ended says whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal to the process.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Stop asks the process to end (SIGTERM) and waits; when it has not ended
// after grace it is killed, and that is an error.
func (p *Process) Stop(grace time.Duration) error {
	if err := p.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.Args[0], err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(grace):
		p.Kill()
		return fmt.Errorf("stop %s: did not end within %v", p.Args[0], grace)
	}
}

// Kill kills the process (SIGKILL) and waits for its end.
func (p *Process) Kill() {
	_ = p.Signal(unix.SIGKILL)
	<-p.done
}

// Output is what the process has written so far, both streams; of a long
// output the last megabyte.
func (p *Process) Output() string { return p.log.String() }

// WaitOutput waits until the output holds text. It fails when the process ends
// without having written it.
func (p *Process) WaitOutput(ctx context.Context, text string) error {
	return Wait(ctx, fmt.Sprintf("%q from %s", text, filepath.Base(p.Args[0])), func() (bool, error) {
		ended := p.Ended()
		if strings.Contains(p.Output(), text) {
			return true, nil
		}
		if ended {
			return false, fmt.Errorf("%s ended (%v):\n%s", p.Args[0], p.err, lastLines(p.Output(), 20))
		}
		return false, nil
	})
}

// tail keeps the last part of an output.
type tail struct {
	mu   sync.Mutex
	data []byte // guarded by mu
}

const tailBytes = 1 << 20

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, b...)
	if len(t.data) > 2*tailBytes {
		t.data = append(t.data[:0], t.data[len(t.data)-tailBytes:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.ToValidUTF8(t.data, []byte("?")))
}

func (t *tail) and(w io.Writer) io.Writer {
	if w == nil {
		return t
	}
	return io.MultiWriter(t, w)
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
