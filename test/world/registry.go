package world

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// runDir holds one directory per world and one of binaries per process. Their
// names start with the owner's pid and start time, so whoever finds one can
// tell whether its owner lives, even when the pid was used again.
const runDir = "/run/culvert-world"

// netnsDir is where iproute2 keeps named namespaces.
const netnsDir = "/run/netns"

// serial numbers the worlds of this process.
var serial atomic.Int64

// claim takes a new id and its run directory.
func claim() (id, dir string, err error) {
	owner, err := ownerTag(os.Getpid())
	if err != nil {
		return "", "", err
	}
	n := serial.Add(1)
	id = fmt.Sprintf("cv%d", os.Getpid())
	if n > 1 {
		id += "x" + strconv.FormatInt(n, 10)
	}
	dir = filepath.Join(runDir, owner+"."+id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", "", fmt.Errorf("make run directory: %w", err)
	}
	return id, dir, nil
}

// ownerTag is "pid.starttime" of a live process. A zombie does not live.
func ownerTag(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", fmt.Errorf("read the owner's start time: %w", err)
	}
	// proc(5): the command is in parentheses and may hold spaces; the start
	// time is field 22, the 20th after it.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return "", errors.New("read the owner's start time: short stat")
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "", fmt.Errorf("process %d has ended", pid)
	}
	return fmt.Sprintf("%d.%s", pid, fields[19]), nil
}

// Sweep removes what dead processes left: worlds and built binaries whose owner
// is gone. The worlds of live processes are not touched.
func Sweep() error {
	entries, err := os.ReadDir(runDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list worlds: %w", err)
	}
	var errs []error
	for _, e := range entries {
		part := strings.SplitN(e.Name(), ".", 3)
		if len(part) != 3 {
			continue
		}
		if lives(part[0] + "." + part[1]) {
			continue
		}
		errs = append(errs, remove(part[2], filepath.Join(runDir, e.Name())))
	}
	return errors.Join(errs...)
}

// lives says whether the process with this tag is still there.
func lives(tag string) bool {
	number, _, _ := strings.Cut(tag, ".")
	pid, err := strconv.Atoi(number)
	if err != nil {
		return false
	}
	now, err := ownerTag(pid)
	return err == nil && now == tag
}

// remove undoes a world given only its names: from another process too. The
// order matters: processes first (they hold everything else), then the bpf
// pins, then the cgroups, then the namespaces.
func remove(id, dir string) error {
	if id == binariesID {
		return removeDir(dir)
	}
	var errs []error
	if mount, err := cgroupMount(); err == nil {
		errs = append(errs, removeCgroup(filepath.Join(mount, "culvert-"+id)))
	}
	bpf := filepath.Join(dir, "bpf")
	if err := unix.Unmount(bpf, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		errs = append(errs, fmt.Errorf("unmount %s: %w", bpf, err))
	}
	names, _ := filepath.Glob(filepath.Join(netnsDir, id+"-*"))
	for _, name := range names {
		errs = append(errs, removeNetns(name))
	}
	return errors.Join(errors.Join(errs...), removeDir(dir))
}

// removeDir removes a run directory, and the directory of all when it is the last.
func removeDir(dir string) error {
	err := os.RemoveAll(dir)
	// Fails while another world is there, as it should.
	_ = os.Remove(runDir)
	return err
}

// mountBPF mounts a bpf file system of the world's own on dir: pins of
// different worlds never meet, and unmounting drops them all.
func mountBPF(dir string) error {
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		return fmt.Errorf("mount bpffs on %s: %w", dir, err)
	}
	return nil
}

// pollEvery is how often a condition is looked at while waiting for it.
const pollEvery = 5 * time.Millisecond
