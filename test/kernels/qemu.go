package kernels

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"

	"github.com/culvert-mesh/culvert/test/kernels/guest"
)

// outcome is how a guest's life went.
type outcome struct {
	release  string // of the kernel, as it says itself
	programs []programOutcome
	ended    bool   // every program was run
	broken   string // why not, when init knew
}

// programOutcome is how one program in the guest went.
type programOutcome struct {
	name   string
	code   string // exit code; "" when it did not end
	took   string
	tests  []testOutcome
	output string
}

// testOutcome is one top-level test of a program.
type testOutcome struct{ name, verdict string }

// boot runs a guest until it switches itself off or ctx ends. console is where
// the kernel's own messages are written, a file.
func boot(ctx context.Context, k kernel, image, console string) (outcome, error) {
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "pc", "-accel", "tcg", "-cpu", "max", "-m", "1024",
		// The guest's clock counts its instructions, a billion to the second,
		// and skips what is idle. So however busy this machine is, no heartbeat
		// and no timeout in the guest is ever late.
		"-icount", "shift=0,sleep=off",
		// A second processor that is possible but not there, for per-CPU maps:
		// by instruction count 6.1 does not get to starting a real one.
		"-smp", "1,maxcpus=2",
		"-kernel", k.image, "-initrd", image,
		// panic=-1: a panic is a reboot, which -no-reboot makes an end.
		"-append", "console=ttyS0 loglevel=4 panic=-1 no5lvl mitigations=off",
		"-serial", "file:"+console, "-serial", "stdio")
	// A test that go test ends must not leave a guest behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		return outcome{}, fmt.Errorf("make qemu's pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return outcome{}, fmt.Errorf("start qemu: %w", err)
	}
	o, err := read(out)
	waited := cmd.Wait()
	switch used := cmd.ProcessState; {
	case ctx.Err() != nil:
		err = fmt.Errorf("run qemu: the guest did not end in time; it had %v of processor time", used.UserTime()+used.SystemTime())
	case waited != nil:
		err = fmt.Errorf("run qemu: %w\n%s", waited, strings.TrimSpace(complaints.String()))
	}
	return o, err
}

// read reads what a guest writes to its port, to the end.
func read(from io.Reader) (outcome, error) {
	var o outcome
	var p *programOutcome
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if err != nil && err != io.EOF {
			return o, fmt.Errorf("read the guest's port: %w", err)
		}
		// A serial line ends with both.
		text := strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(text, guest.Kernel):
			o.release = strings.TrimPrefix(text, guest.Kernel)
		case strings.HasPrefix(text, guest.Begin):
			o.programs = append(o.programs, programOutcome{name: strings.TrimPrefix(text, guest.Begin)})
			p = &o.programs[len(o.programs)-1]
		case strings.HasPrefix(text, guest.End) && p != nil:
			if f := strings.Fields(strings.TrimPrefix(text, guest.End)); len(f) == 3 {
				p.code, p.took = f[1], f[2]
			}
			p = nil
		case strings.HasPrefix(text, guest.Broken):
			o.broken = strings.TrimPrefix(text, guest.Broken)
		case text == guest.Done:
			o.ended = true
		case p != nil:
			p.line(text)
		}
		if err == io.EOF {
			return o, nil
		}
	}
}

// line takes a line of the program's own.
func (p *programOutcome) line(text string) {
	p.output += text + "\n"
	rest, ok := strings.CutPrefix(text, "--- ")
	if !ok {
		return
	}
	if f := strings.Fields(rest); len(f) >= 2 {
		p.tests = append(p.tests, testOutcome{name: f[1], verdict: strings.TrimSuffix(f[0], ":")})
	}
}
