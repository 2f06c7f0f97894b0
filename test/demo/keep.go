package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"golang.org/x/sys/unix"
)

// markName is a file in a demo's run directory that says which cgroup is its.
const markName = "demo"

// writeMark lets `culvert-demo in` find this demo.
func (d *demo) writeMark() error {
	path := filepath.Join(filepath.Dir(d.world.Policy), markName)
	if err := os.WriteFile(path, []byte(d.world.ID()+" "+d.world.Cgroup), 0o644); err != nil {
		return fmt.Errorf("write the demo's mark: %w", err)
	}
	return nil
}

// enter runs a command inside a pod of a demo that is kept, in place of this
// process: in the pod's network namespace and in its cgroup, as a shell that
// was started there would.
func enter(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: culvert-demo in POD COMMAND [ARG...]")
	}
	id, cgroup, err := findDemo()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(cgroup, args[0], "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("enter the cgroup of %s: %w", args[0], err)
	}
	ns, err := os.Open(filepath.Join("/run/netns", id+"-"+args[0]))
	if err != nil {
		return fmt.Errorf("enter the network of %s: %w", args[0], err)
	}
	// The thread that calls exec keeps its namespace, the others end.
	runtime.LockOSThread()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network of %s: %w", args[0], err)
	}
	path, err := exec.LookPath(args[1])
	if err != nil {
		return err
	}
	return fmt.Errorf("run %s: %w", args[1], syscall.Exec(path, args[1:], os.Environ()))
}

// findDemo looks for the demo that was started last.
func findDemo() (id, cgroup string, err error) {
	marks, _ := filepath.Glob(filepath.Join("/run/culvert-world", "*", markName))
	var newest time.Time
	for _, path := range marks {
		info, statErr := os.Stat(path)
		text, readErr := os.ReadFile(path)
		if errors.Join(statErr, readErr) == nil && info.ModTime().After(newest) {
			newest = info.ModTime()
			id, cgroup, _ = strings.Cut(string(text), " ")
		}
	}
	if id == "" {
		return "", "", errors.New("no demo is running; start one with: make demo KEEP=1")
	}
	return id, cgroup, nil
}

// keepRunning prints what to play with, and waits for Ctrl-C. A node that was
// killed is started again when Enter is pressed.
func (d *demo) keepRunning(ctx context.Context) error {
	if !d.keep {
		return nil
	}
	if err := d.v3.server.SetFaults(peer.Faults{FlapEvery: 1}); err != nil {
		return err
	}
	d.step("Yours to play with")
	d.commands()
	d.kept = true
	pressed := readLines()
	for {
		if err := d.node.Wait(ctx); ctx.Err() != nil {
			return nil
		} else {
			d.gap()
			d.note("The node has ended (%v). Press Enter here to start it again; the counter culvert_capture_total away_open then says how many connections went straight to an endpoint.", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-pressed:
		}
		if err := d.launch(ctx); err != nil {
			return err
		}
		d.note("The node serves again; kill -9 %d kills it.", d.node.PID)
	}
}

// commands prints what to type in a second terminal.
func (d *demo) commands() {
	self := os.Args[0]
	here, _ := os.Getwd()
	file := filepath.Join(d.world.Policy, routeFile)
	url := func(path string) string { return "http://" + d.api.VIP4.String() + path }
	d.note("In a second terminal, as root. This one ends everything with Ctrl-C.")
	for _, c := range []struct{ about, command string }{
		{"where the paths below start", "cd " + here},
		{"a request from a pod; again and again, and three of four go to version 1", self + " in client-1 curl -si " + url("/")},
		{"the header decides", self + " in client-1 curl -si -H 'x-version: v2' " + url("/")},
		{"version 3 fails every other time: seen without a retry, not seen with it",
			"for i in 1 2 3 4 5 6; do " + self + " in client-1 curl -s -o /dev/null -w '%{http_code} ' " + url("/raw") + "; done; echo"},
		{"", "for i in 1 2 3 4 5 6; do " + self + " in client-1 curl -s -o /dev/null -w '%{http_code} ' " + url("/any") + "; done; echo"},
		{"edit the policy (with any editor): everything to version 2, and look again", "sed -i 's/weight: 75/weight: 0/' " + file},
		{"", self + " in client-1 curl -si " + url("/")},
		{"a mistake is told and harms nothing", "echo 'kind: Mistake' > " + d.world.Policy + "/oops.yaml; " + d.binaryName() + " check " + d.world.Policy},
		{"", "rm " + d.world.Policy + "/oops.yaml"},
		{"the opaque service, balanced by the kernel", self + " in client-2 bash -c 'head -1 < /dev/tcp/" + strings.Replace(d.cache.Addr4(), ":", "/", 1) + "'"},
		{"break version 3 altogether, send requests, and look at its circuit breaker", self + ` in api-v3 curl -sf -X PUT -d '{"failShare":1}' localhost:18080/faults`},
		{"", "for i in $(seq 30); do " + self + " in client-1 curl -s -o /dev/null " + url("/any") + "; done"},
		{"", self + " in node curl -s localhost:15000/debug/breakers"},
		{"metrics, and all that the admin port has", self + " in node curl -s localhost:15000/metrics | grep ^proxy_requests_total"},
		{"", self + " in node curl -s localhost:15000/debug/"},
		{"a shell in a pod", self + " in client-1 bash"},
	} {
		d.command(c.about, c.command)
	}
	about := "kill the proxy: the stance is open, so new connections go straight to the endpoints"
	if !d.kubeProxy {
		about = "kill the proxy: new connections go to the dialled address, which nobody serves here without nft"
	}
	d.command(about, fmt.Sprintf("kill -9 %d; sleep 0.3; %s in client-1 curl -si %s", d.node.PID, self, url("/")))
	d.gap()
}

// command prints one command that can be pasted as it is.
func (d *demo) command(about, command string) {
	if about != "" {
		d.gap()
		fmt.Fprintf(d.out, "   %s\n", d.paint(dim, "# "+about))
	}
	fmt.Fprintf(d.out, "   %s\n", command)
}

// binaryName is how a user calls culvert.
func (d *demo) binaryName() string {
	if d.binary == "" {
		return "culvert"
	}
	return d.binary
}

// readLines tells of each line of standard input. Its goroutine lasts as long
// as the process: a read of a terminal cannot be called off.
func readLines() <-chan struct{} {
	lines := make(chan struct{})
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- struct{}{}
		}
	}()
	return lines
}
