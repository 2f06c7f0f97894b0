package kernels

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/culvert-mesh/culvert/test/kernels/guest"
)

// module is the import path that every package here starts with.
const module = "github.com/culvert-mesh/culvert"

// file is one program of the guest: a package of this module, and where its
// binary goes.
type file struct {
	pkg  string
	test bool   // its test binary, not the package itself
	at   string // in the guest
}

// files are all binaries that a guest has.
func files() []file {
	return []file{
		{"test/kernels/init", false, "init"},
		{"", false, "bin/culvert"},
		{"test/peer/culvert-peer", false, "bin/culvert-peer"},
		{"bpf", true, "tests/bpf"},
		{"node/capture", true, "tests/capture"},
		{"node/workload", true, "tests/workload"},
		{"test/kernels/story", true, "tests/story"},
	}
}

// programs are what the guest runs, in this order.
func programs() []guest.Program {
	var all []guest.Program
	for _, name := range []string{"bpf", "workload", "capture", "story"} {
		p := guest.Program{
			Name: name, Dir: "/cwd/" + name, Env: []string{"CI=true"},
			Args: []string{"/tests/" + name, "-test.v", "-test.timeout=60s"},
		}
		if name == "story" {
			p.Args = append(p.Args, "-culvert=/bin/culvert", "-peer=/bin/culvert-peer")
		}
		all = append(all, p)
	}
	return all
}

// build compiles all files into dir. They are static: the guest has no libc.
func build(ctx context.Context, dir string) error {
	for _, f := range files() {
		args := []string{"env", "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "go"}
		if f.test {
			args = append(args, "test", "-c")
		} else {
			args = append(args, "build")
		}
		args = append(args, "-ldflags=-s -w", "-o", filepath.Join(dir, f.at), path.Join(module, f.pkg))
		if err := run(ctx, ".", args...); err != nil {
			return err
		}
	}
	return nil
}

// modules are what a guest needs of its kernel's modules, each after those
// that it depends on. IPv6, TCP and BPF are built in.
func modules() []string {
	return []string{"kernel/net/llc/llc.ko", "kernel/net/802/stp.ko", "kernel/net/bridge/bridge.ko", "kernel/drivers/net/veth.ko"}
}

// makeImage writes the initramfs of one kernel. built is where build put files.
func makeImage(to, built string, k kernel) error {
	out, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("make the initramfs: %w", err)
	}
	defer out.Close()
	buffered := bufio.NewWriterSize(out, 1<<20)
	a := newArchive(buffered)
	for _, f := range files() {
		a.copy(f.at, 0o755, filepath.Join(built, f.at))
	}
	list, err := json.Marshal(programs())
	if err != nil {
		return fmt.Errorf("write the list of programs: %w", err)
	}
	a.file(strings.TrimPrefix(guest.List, "/"), 0o644, list)
	// The kernel opens it for init before anything is mounted.
	a.dir("dev")
	if err := addModules(a, k); err != nil {
		return err
	}
	if err := a.close(); err != nil {
		return err
	}
	return buffered.Flush()
}

func addModules(a *archive, k kernel) error {
	builtin, err := os.ReadFile(filepath.Join(k.modules, "modules.builtin"))
	if err != nil {
		return fmt.Errorf("read what is built in: %w", err)
	}
	for i, name := range modules() {
		if strings.Contains(string(builtin), name+"\n") {
			continue
		}
		// .ko, or .ko.xz and the like.
		found, err := filepath.Glob(filepath.Join(k.modules, name+"*"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("find module %s of %s: %v, %v", name, k.release, found, err)
		}
		a.copy(fmt.Sprintf("%s/%d-%s", strings.TrimPrefix(guest.ModuleDir, "/"), i, filepath.Base(found[0])), 0o644, found[0])
	}
	return nil
}
