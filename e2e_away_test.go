package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// startControlPlane runs culvert controlplane in the node's namespace.
func startControlPlane(t *testing.T, w *world.T, address string) *world.Process {
	t.Helper()
	binary, err := w.Binary()
	if err != nil {
		t.Fatal(err)
	}
	p := w.Start(w.Host, binary, "controlplane", "--policy", w.Policy, "--listen", address)
	if err := p.WaitOutput(t.Context(), "control plane started"); err != nil {
		t.Fatal(err)
	}
	return p
}

// startRemoteNode runs culvert node with a control plane elsewhere, and waits
// for a line of its log.
func startRemoteNode(t *testing.T, w *world.T, address, until string) *world.Process {
	t.Helper()
	binary, err := w.Binary()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{binary, "node", "--xds", address, "--drain-timeout", "5s"}
	flags := w.Flags()
	for i := 0; i < len(flags); i += 2 {
		if flags[i] != "--policy" {
			args = append(args, flags[i], flags[i+1])
		}
	}
	p := w.Start(w.Host, args...)
	if err := p.WaitOutput(t.Context(), until); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestNotReadyWithoutConfiguration: nothing is captured either.
func TestNotReadyWithoutConfiguration(t *testing.T) {
	w := world.ForTest(t, world.Config{})
	node := startRemoteNode(t, w, "127.0.0.1:15010", "node started")
	get := func(path string) string {
		return w.Run(w.Host, "curl", "-s", "-w", "%{http_code}", "http://127.0.0.1:15000"+path)
	}
	if got := get("/readyz"); got != "not ready: no configuration has been applied yet\n503" {
		t.Errorf("readyz: %q", got)
	}
	if got := get("/healthz"); got != "ok\n200" {
		t.Errorf("healthz: %q", got)
	}
	if got := get("/debug/capture"); !strings.Contains(got, `"alive": false`) {
		t.Errorf("debug/capture: %q", got)
	}
	if err := node.Stop(5 * time.Second); err != nil {
		t.Fatalf("stop: %v\n%s", err, node.Output())
	}
}

// waitSaved waits until the node's configuration is on disk, which is after it is
// applied.
func waitSaved(t *testing.T, w *world.T) {
	t.Helper()
	w.Wait("the state file", func() (bool, error) {
		_, err := os.Stat(filepath.Join(w.State, "xds.state"))
		return err == nil, nil
	})
}

// TestControlPlaneGoesAway: what a node has learned it keeps, across its own
// restart too, and it takes up changes when the control plane is back.
func TestControlPlaneGoesAway(t *testing.T) {
	const address = "127.0.0.1:15010"
	w, client, vip := shopWorld(t, world.Config{})
	ctl := startControlPlane(t, w, address)
	node := startRemoteNode(t, w, address, "configuration applied")
	is := func(want string) error {
		if by, _ := served(t, client, "http://"+vip+"/v2"); by != want {
			return fmt.Errorf("/v2 was answered by %q, not %q", by, want)
		}
		return nil
	}
	if err := is("api2"); err != nil {
		t.Fatal(err)
	}
	waitSaved(t, w)
	ctl.Kill()
	node.Kill()
	node = startRemoteNode(t, w, address, "configuration applied")
	if err := is("api2"); err != nil {
		t.Fatalf("without a control plane: %v", err)
	}
	w.WritePolicy("route.yaml", strings.Replace(shopRoute, "name: api2", "name: api", 1))
	startControlPlane(t, w, address)
	w.Wait("the change to arrive", func() (bool, error) { return is("api") == nil, nil })
	if err := node.Stop(10 * time.Second); err != nil {
		t.Fatalf("stop: %v\n%s", err, node.Output())
	}
}

// TestBadPolicyIsTold: one line, in the log and on the admin port, and all that
// was fine goes on.
func TestBadPolicyIsTold(t *testing.T) {
	w, client, vip := shopWorld(t, world.Config{})
	node := w.Node(world.NodeConfig{})
	w.WritePolicy("route.yaml", strings.Replace(shopRoute, "value: /v2", "value: no-slash", 1))
	w.Wait("the problem to be told", func() (bool, error) {
		text, err := node.Get(t.Context(), "/debug/problems")
		return strings.Contains(text, "route.yaml:1: HTTPRoute default/shop: spec.rules[0].matches[0].path.value: "), err
	})
	if err := node.WaitOutput(t.Context(), "policy problem"); err != nil {
		t.Error(err)
	}
	if by, _ := served(t, client, "http://"+vip+"/v2"); by != "api2" {
		t.Errorf("/v2 was answered by %q: the last good route must stay", by)
	}
}

// TestDrain: a connection that is open at SIGTERM gets its answer, is told to
// go, and new ones are not refused.
func TestDrain(t *testing.T) {
	w, client, vip := shopWorld(t, world.Config{KubeProxy: true})
	node := w.Node(world.NodeConfig{})
	conn, err := client.Dial(t.Context(), "tcp", vip)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	if r := exchange(t, conn, answers); r.Close {
		t.Fatal("the connection closes before the drain")
	}
	stopped := make(chan error, 1)
	go func() { stopped <- node.Stop(20 * time.Second) }()
	if err := node.WaitOutput(t.Context(), "draining"); err != nil {
		t.Fatal(err)
	}
	// Idle connections are closed spread over two seconds; this one is in use.
	for {
		if by, _ := served(t, client, "http://"+vip+"/"); by != "api" {
			t.Errorf("a new connection was answered by %q", by)
		}
		r := exchange(t, conn, answers)
		if r.Header.Get(peer.ServedBy) != "api" {
			t.Fatalf("answer %v", r)
		}
		if r.Close {
			break
		}
	}
	if err := <-stopped; err != nil {
		t.Fatalf("stop: %v\n%s", err, node.Output())
	}
	if out := node.Output(); !strings.Contains(out, "node stopped") || strings.Contains(out, "connections were cut") {
		t.Errorf("log:\n%s", out)
	}
}

// exchange makes one request on an open connection.
func exchange(t *testing.T, conn net.Conn, answers *bufio.Reader) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	buffer := make([]byte, 1024)
	for {
		if _, err := r.Body.Read(buffer); err != nil {
			return r
		}
	}
}

// TestPodThatLeftWhileNobodyRan: it must not be held to the stance of a service
// for ever.
func TestPodThatLeftWhileNobodyRan(t *testing.T) {
	w := world.ForTest(t, world.Config{KubeProxy: true})
	client, server := w.Pod("client", world.PodConfig{}), w.Pod("server", world.PodConfig{})
	if _, err := server.HTTPPeer(t.Context(), 8080, peer.Faults{}, "api"); err != nil {
		t.Fatal(err)
	}
	s := w.Publish(world.Service{Name: "api", Ports: []world.Port{{Port: 80, Target: 8080}}, Endpoints: world.Ready(server),
		Annotations: map[string]string{"culvert.dev/stance": "closed"}})
	node := w.Node(world.NodeConfig{})
	if by, _ := served(t, client, "http://"+s.Addr4()+"/"); by != "api" {
		t.Fatalf("answered by %q", by)
	}
	node.Kill()
	w.Wait("the stance to hold", func() (bool, error) {
		c, err := client.Dial(t.Context(), "tcp", s.Addr4())
		if err == nil {
			c.Close()
		}
		return err != nil, nil
	})
	if err := w.RemovePolicy("pod-default-client.yaml"); err != nil {
		t.Fatal(err)
	}
	w.Node(world.NodeConfig{})
	if by, _ := served(t, client, "http://"+s.Addr4()+"/"); by != "api" {
		t.Fatalf("answered by %q", by)
	}
}
