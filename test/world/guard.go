package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
)

// The guard is a process beside the one that builds worlds. It holds a pipe
// from it; when the pipe closes, because its owner ended in whatever way, it
// sweeps what the owner left.

// binariesID takes a world's id in the name of the directory of binaries.
const binariesID = "bin"

// One of each per process is the point: package variables, unlike elsewhere.
var (
	guardOnce = sync.OnceValues(runGuard)
	guarded   atomic.Pointer[guard] // nil: there is none
	givenPeer atomic.Pointer[string]
	buildPeer = sync.OnceValues(func() (string, error) { return build("./test/peer/culvert-peer", "culvert-peer") })
	buildNode = sync.OnceValues(func() (string, error) { return build(".", "culvert") })
)

// guard is the guard process.
type guard struct {
	// pipe is the write end: it must stay referenced, or the garbage collector
	// closes it and the guard sweeps too early.
	pipe *os.File
	cmd  *exec.Cmd
}

// startGuard sweeps what earlier processes left, and starts the guard, once for
// the process.
func startGuard() error {
	g, err := guardOnce()
	if err == nil {
		guarded.Store(g)
	}
	return err
}

// Leave is for a program that is about to end and has closed its worlds: it
// removes the binaries that were built and ends the guard, which would
// otherwise be there for a moment longer than the program. No world can be
// made after it.
func Leave() error {
	g := guarded.Swap(nil)
	if g == nil {
		return nil
	}
	owner, err := ownerTag(os.Getpid())
	if err != nil {
		return err
	}
	err = remove(binariesID, filepath.Join(runDir, owner+"."+binariesID))
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait() // "killed", as it was
	return errors.Join(err, g.pipe.Close())
}

func runGuard() (*guard, error) {
	if err := Sweep(); err != nil {
		return nil, fmt.Errorf("sweep leftovers: %w", err)
	}
	binary, err := PeerBinary()
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make the guard's pipe: %w", err)
	}
	defer read.Close()
	owner, err := ownerTag(os.Getpid())
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "guard", owner)
	cmd.Stdin = read
	// A session of its own: Ctrl-C and hang-ups are not for the guard.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	return &guard{pipe: write, cmd: cmd}, nil
}

// Guard is the guard process of an owner: it waits until stdin ends, then
// sweeps. The kernel closes the pipe a little before the owner is gone.
func Guard(stdin io.Reader, owner string) error {
	_, _ = io.Copy(io.Discard, stdin)
	err := Wait(context.Background(), "the owner's end", func() (bool, error) { return !lives(owner), nil })
	return errors.Join(err, Sweep())
}

// UsePeer names a built test/peer/culvert-peer, for programs that run without
// the source. It must come before the first world.
func UsePeer(path string) { givenPeer.Store(&path) }

// PeerBinary is the built test/peer/culvert-peer.
func PeerBinary() (string, error) {
	if path := givenPeer.Load(); path != nil {
		return filepath.Abs(*path)
	}
	return buildPeer()
}

// build builds a package of this module into the process's directory of
// binaries, which goes when the process ends.
func build(pkg, name string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	owner, err := ownerTag(os.Getpid())
	if err != nil {
		return "", err
	}
	dir := filepath.Join(runDir, owner+"."+binariesID)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the directory of binaries: %w", err)
	}
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-o", path, pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// moduleRoot is the directory of go.mod, upwards from the working directory:
// go test runs every test in its package's directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("find the module: no go.mod above the working directory")
		}
		dir = parent
	}
}
