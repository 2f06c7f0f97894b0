package world_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
	"golang.org/x/sys/unix"
)

func TestPodsReachEachOther(t *testing.T) {
	w := world.ForTest(t, world.Config{})
	client, server := w.Pod("client", world.PodConfig{}), w.Pod("server", world.PodConfig{})
	if _, err := server.HTTPPeer(t.Context(), 8080, peer.Faults{}, "v1"); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []netip.AddrPort{server.Addr4(8080), server.Addr6(8080)} {
		resp, err := client.HTTPClient().Get("http://" + addr.String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := resp.Header.Get(peer.ServedBy); got != "v1" {
			t.Errorf("%v: served by %q", addr, got)
		}
		source := client.IP4
		if addr.Addr().Is6() {
			source = client.IP6
		}
		if !strings.Contains(string(body), source.String()) {
			t.Errorf("%v: the server saw another source than %v: %s", addr, source, body)
		}
	}
}

func TestDialIsInTheCgroupAndTheNamespace(t *testing.T) {
	w := world.ForTest(t, world.Config{})
	pod, server := w.Pod("client", world.PodConfig{}), w.Pod("server", world.PodConfig{})
	if _, err := server.TCPPeer(t.Context(), 9000, "--greeting", "hello\n"); err != nil {
		t.Fatal(err)
	}
	local := netip.AddrPortFrom(pod.IP4, 4321).String()
	c, err := pod.DialFrom(t.Context(), "tcp", local, server.Addr4(9000).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.LocalAddr().String(); got != local {
		t.Errorf("local address %s, want %s", got, local)
	}
	if line := make([]byte, 6); readFull(c, line) != "hello\n" {
		t.Errorf("greeting %q", line)
	}
	_, err = pod.Dial(t.Context(), "tcp", server.Addr4(1).String())
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial a closed port: %v, want ECONNREFUSED", err)
	}
	// The cgroup of a process that the place started is the place's.
	text := w.Run(pod.Place, "cat", "/proc/self/cgroup")
	if !strings.Contains(text, filepath.Base(w.Cgroup)+"/client") {
		t.Errorf("cgroup of a process in the pod: %s", text)
	}
	fd, err := pod.Socket(t.Context(), unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: server.IP4.As4(), Port: 9000}); err != nil {
		t.Errorf("connect a raw socket: %v", err)
	}
}

func readFull(r io.Reader, b []byte) string {
	_, _ = io.ReadFull(r, b)
	return string(b)
}

func TestVIP(t *testing.T) {
	for _, kubeProxy := range []bool{false, true} {
		w := world.ForTest(t, world.Config{KubeProxy: kubeProxy})
		client, a, b := w.Pod("client", world.PodConfig{}), w.Pod("a", world.PodConfig{}), w.Pod("b", world.PodConfig{})
		for _, p := range []*world.Pod{a, b} {
			if _, err := p.HTTPPeer(t.Context(), 8080, peer.Faults{}, ""); err != nil {
				t.Fatal(err)
			}
		}
		s := w.Publish(world.Service{Name: "api", Ports: []world.Port{{Port: 80, Target: 8080}}, Endpoints: world.Ready(a, b)})
		for _, addr := range []string{s.Addr4(), s.Addr6()} {
			r, err := client.Load(t.Context(), peer.Load{URL: "http://" + addr + "/", Requests: 40, NewConnection: true})
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]int64{false: 0, true: 40}[kubeProxy]; r.OK != want {
				t.Errorf("kube-proxy %t, %s: %d of 40 requests answered, want %d (%s)", kubeProxy, addr, r.OK, want, r.FirstError)
			}
			if kubeProxy && len(r.Server) != 2 {
				t.Errorf("%s: served by %v, want both pods", addr, r.Server)
			}
		}
	}
}

func TestNothingIsLeft(t *testing.T) {
	w := world.ForTest(t, world.Config{})
	pod := w.Pod("p", world.PodConfig{})
	proc, err := pod.Start(context.Background(), world.Command{Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if !proc.Ended() {
		t.Error("a process outlived its world")
	}
	for _, path := range []string{pod.Netns, pod.Cgroup, w.Cgroup, w.Policy, w.Host.Netns} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
}

func TestRemovedPodIsGone(t *testing.T) {
	w := world.ForTest(t, world.Config{})
	pod := w.Pod("p", world.PodConfig{})
	if err := pod.Remove(); err != nil {
		t.Fatal(err)
	}
	again := w.Pod("p", world.PodConfig{})
	if again.IP4 == pod.IP4 {
		t.Error("a new pod has the address of the old one")
	}
}

// A killed owner cannot close its world; the guard does.
func TestGuardSweepsAfterAKill(t *testing.T) {
	world.ForTest(t, world.Config{}) // for the check of privileges
	if os.Getenv("WORLD_TEST_OWNER") != "" {
		t.Skip("this is the child")
	}
	read, write := io.Pipe()
	cmd := exec.Command(os.Args[0], "-test.run=^TestOwnerToBeKilled$")
	cmd.Env = append(os.Environ(), "WORLD_TEST_OWNER=1")
	cmd.Stdout = write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := read.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(buf[:n]))
	if len(fields) < 2 || fields[0] != "world" {
		t.Fatalf("the owner said %q", buf[:n])
	}
	go func() { _, _ = io.Copy(io.Discard, read) }()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	for _, path := range fields[1:] {
		if err := world.Wait(ctx, path+" to go", func() (bool, error) {
			_, err := os.Stat(path)
			return os.IsNotExist(err), nil
		}); err != nil {
			t.Error(err)
		}
	}
}

// TestOwnerToBeKilled is the child of TestGuardSweepsAfterAKill.
func TestOwnerToBeKilled(t *testing.T) {
	if os.Getenv("WORLD_TEST_OWNER") == "" {
		t.Skip("only as the child of TestGuardSweepsAfterAKill")
	}
	w := world.ForTest(t, world.Config{})
	pod := w.Pod("p", world.PodConfig{})
	w.Start(pod.Place, "sleep", "1000")
	_, _ = os.Stdout.WriteString("world " + strings.Join([]string{pod.Netns, w.Cgroup, w.Policy}, " ") + "\n")
	select {} // until killed
}

// A program that leaves is followed by nothing, not even by its guard.
func TestLeave(t *testing.T) {
	world.ForTest(t, world.Config{}) // for the check of privileges
	cmd := exec.Command(os.Args[0], "-test.run=^TestOwnerThatLeaves$", "-test.v")
	cmd.Env = append(os.Environ(), "WORLD_TEST_OWNER=1")
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "SKIP") {
		t.Fatalf("%v\n%s", err, out)
	}
	owner := fmt.Sprintf("%d.", cmd.Process.Pid)
	dirs, _ := filepath.Glob("/run/culvert-world/" + owner + "*")
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if line, _ := os.ReadFile(path); strings.Contains(string(line), "guard\x00"+owner) {
			dirs = append(dirs, path)
		}
	}
	if len(dirs) > 0 {
		t.Errorf("left: %v", dirs)
	}
}

// TestOwnerThatLeaves is the child of TestLeave.
func TestOwnerThatLeaves(t *testing.T) {
	if os.Getenv("WORLD_TEST_OWNER") == "" {
		t.Skip("only as the child of TestLeave")
	}
	w, err := world.New(world.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := errors.Join(w.Close(), world.Leave()); err != nil {
			t.Error(err)
		}
	}
}

func TestFaultsOfAPeer(t *testing.T) {
	w := world.ForTest(t, world.Config{})
	pod := w.Pod("p", world.PodConfig{})
	server, err := pod.HTTPPeer(t.Context(), 8080, peer.Faults{}, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.SetFaults(peer.Faults{FailFirst: 3}); err != nil {
		t.Fatal(err)
	}
	r, err := pod.Load(t.Context(), peer.Load{URL: "http://" + pod.Addr4(8080).String() + "/", Requests: 10})
	if err != nil {
		t.Fatal(err)
	}
	if r.Status[503] != 3 || r.Status[200] != 7 {
		t.Errorf("answers %v, want 3 x 503 and 7 x 200", r.Status)
	}
	stats, err := server.Stats()
	if err != nil || stats.Requests != 10 || stats.Failures != 3 {
		t.Errorf("the server counted %+v, %v", stats, err)
	}
}

func TestMetrics(t *testing.T) {
	m, err := world.ParseMetrics("# TYPE r counter\nr{s=\"a\",c=\"1\"} 2\nr{s=\"a\",c=\"2\"} 3\nr{s=\"b\",c=\"1\"} 4\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Sum("r", "s", "a"); got != 5 {
		t.Errorf("sum %v, want 5", got)
	}
	if got := m.By("r", "c")["1"]; got != 6 {
		t.Errorf("by c=1: %v, want 6", got)
	}
}
