// Command init is the first and only resident process of a test's guest: it
// mounts what Culvert needs, loads modules, runs a list of programs one after
// the other, says on the serial port how each ended, and switches the machine
// off. Only test/kernels starts it.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/test/kernels/guest"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is no guest of a test")
		os.Exit(2)
	}
	if err := live(); err != nil {
		fmt.Printf("\n%s%v\n", guest.Broken, err)
	}
	// What was written to the port has to be on its way before the power goes.
	_ = unix.IoctlSetInt(1, unix.TCSBRK, 1)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func live() error {
	if err := mountAll(); err != nil {
		return err
	}
	if err := openPort(); err != nil {
		return err
	}
	if err := loadModules(guest.ModuleDir); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return fmt.Errorf("read the kernel's release: %w", err)
	}
	fmt.Printf("\n%s%s", guest.Kernel, release)
	text, err := os.ReadFile(guest.List)
	if err != nil {
		return fmt.Errorf("read the list of programs: %w", err)
	}
	var programs []guest.Program
	if err := json.Unmarshal(text, &programs); err != nil {
		return fmt.Errorf("read the list of programs: %w", err)
	}
	for _, p := range programs {
		if err := runProgram(p); err != nil {
			return err
		}
	}
	fmt.Printf("\n%s\n", guest.Done)
	return nil
}

func mountAll() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"},
		{"cgroup2", "/sys/fs/cgroup"}, {"bpf", "/sys/fs/bpf"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return fmt.Errorf("make mount point: %w", err)
		}
		err := unix.Mount(m.kind, m.at, m.kind, 0, "")
		// Debian's kernels mount devtmpfs themselves.
		if err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return nil
}

// openPort makes the second serial port the output of everything from here
// on: the first has the kernel's own messages.
func openPort() error {
	port, err := unix.Open(guest.Port, unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", guest.Port, err)
	}
	for fd := range 3 {
		if err := unix.Dup2(port, fd); err != nil {
			return fmt.Errorf("make %s the output: %w", guest.Port, err)
		}
	}
	return nil
}

// loadModules loads what is there in the order of the names. The kernel
// unpacks a .ko.xz by itself (5.17, CONFIG_MODULE_DECOMPRESS).
func loadModules(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list modules: %w", err)
	}
	for _, f := range files {
		flags := 0
		if !strings.HasSuffix(f.Name(), ".ko") {
			flags = unix.MODULE_INIT_COMPRESSED_FILE
		}
		file, err := os.Open(filepath.Join(dir, f.Name()))
		if err != nil {
			return fmt.Errorf("open module: %w", err)
		}
		err = unix.FinitModule(int(file.Fd()), "", flags)
		file.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load module %s: %w", f.Name(), err)
		}
	}
	return nil
}

// runProgram runs one program to its end. The first process has to wait for
// every orphan too.
func runProgram(p guest.Program) error {
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	fmt.Printf("\n%s%s\n", guest.Begin, p.Name)
	start := time.Now()
	pid, err := syscall.ForkExec(p.Args[0], p.Args, &syscall.ProcAttr{
		Dir: p.Dir, Env: append([]string{"PATH=/bin", "HOME=/tmp"}, p.Env...), Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	for {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &status, 0, nil)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("wait for %s: %w", p.Name, err)
		}
		if ended != pid {
			continue
		}
		fmt.Printf("\n%s%s %d %.1fs\n", guest.End, p.Name, code(status), time.Since(start).Seconds())
		return nil
	}
}

// code is a shell's idea of an exit status.
func code(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
