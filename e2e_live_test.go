package main

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// TestChangesUnderLoad edits a route again and again while requests run: each
// edit is live within 100 ms, and none of them fails a request.
func TestChangesUnderLoad(t *testing.T) {
	w, client, vip := shopWorld(t, world.Config{})
	node := w.Node(world.NodeConfig{})
	type outcome struct {
		result *peer.Result
		err    error
	}
	loaded := make(chan outcome, 1)
	go func() {
		r, err := client.Load(t.Context(), peer.Load{URL: "http://" + vip + "/v2", Workers: 8, Rate: 2000, Duration: 3 * time.Second})
		loaded <- outcome{r, err}
	}()
	url := "http://" + vip + "/v2"
	c := client.HTTPClient()
	defer c.CloseIdleConnections()
	slowest := time.Duration(0)
	for i := range 20 {
		want := []string{"api", "api2"}[i%2]
		w.WritePolicy("route.yaml", strings.Replace(shopRoute, "name: api2", "name: "+want, 1))
		written := time.Now()
		w.Wait("the route to lead to "+want, func() (bool, error) {
			r, err := c.Get(url)
			if err != nil {
				return false, err
			}
			defer r.Body.Close()
			return r.Header.Get(peer.ServedBy) == want, nil
		})
		slowest = max(slowest, time.Since(written))
	}
	t.Logf("the slowest of 20 changes was live after %v", slowest)
	if slowest > 100*time.Millisecond {
		t.Errorf("a change took %v to be live, over 100 ms", slowest)
	}
	got := <-loaded
	if got.err != nil {
		t.Fatal(got.err)
	}
	if r := got.result; r.OK < 1000 || r.OK != r.Requests || len(r.Server) != 2 {
		t.Errorf("%d of %d requests answered (%v, %v, %s), by %v\n%s", r.OK, r.Requests, r.Status, r.Errors, r.FirstError, r.Server, node.Output())
	}
}

// TestPodChangesUnderLoad: a pod whose addresses and name change goes on calling,
// with a new connection for every request.
func TestPodChangesUnderLoad(t *testing.T) {
	w, client, vip := shopWorld(t, world.Config{})
	node := w.Node(world.NodeConfig{})
	pod := func(name string, addresses ...string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: default, uid: %s, annotations: {culvert.dev/netns: %s}}\n"+
			"spec: {nodeName: %s, containers: []}\nstatus: {podIPs: [{ip: \"%s\"}]}\n",
			name, client.UID, client.Netns, w.NodeName(), strings.Join(addresses, `"}, {ip: "`))
	}
	versions := []string{pod("client", client.IP4.String()), pod("other", client.IP4.String(), client.IP6.String()), pod("client", client.IP6.String(), client.IP4.String())}
	done := make(chan error, 1)
	var got *peer.Result
	go func() {
		var err error
		got, err = client.Load(t.Context(), peer.Load{URL: "http://" + vip + "/", Workers: 4, Rate: 500, Duration: 3 * time.Second, NewConnection: true})
		done <- err
	}()
	for i := range 12 {
		before := strings.Count(node.Output(), "workload enrolled")
		w.WritePolicy("pod-default-client.yaml", versions[i%3])
		w.Wait("the pod to be enrolled anew", func() (bool, error) {
			return strings.Count(node.Output(), "workload enrolled") > before, nil
		})
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got.OK < 500 || got.OK != got.Requests {
		t.Errorf("%d of %d requests answered (%v, %v, %s)\n%s", got.OK, got.Requests, got.Status, got.Errors, got.FirstError, node.Output())
	}
}

// TestOpaqueAndIPv6: a service that the kernel balances, and both families.
func TestOpaqueAndIPv6(t *testing.T) {
	w := world.ForTest(t, world.Config{})
	client := w.Pod("client", world.PodConfig{})
	var pods []*world.Pod
	for _, name := range []string{"one", "two"} {
		p := w.Pod(name, world.PodConfig{})
		if _, err := p.TCPPeer(t.Context(), 9000, "--greeting", name+"\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := p.HTTPPeer(t.Context(), 8080, peer.Faults{}, name); err != nil {
			t.Fatal(err)
		}
		pods = append(pods, p)
	}
	publish := func(name, protocol string, port uint16) world.Service {
		return w.Publish(world.Service{Name: name, Ports: []world.Port{{Port: 80, Target: port, AppProtocol: protocol}}, Endpoints: world.Ready(pods...)})
	}
	opaque, greeting, web := publish("opaque", "tcp", 9000), publish("greeting", "", 9000), publish("web", "", 8080)
	node := w.Node(world.NodeConfig{})
	// greeting declares nothing and its server speaks first.
	for _, addr := range []string{opaque.Addr4(), opaque.Addr6(), greeting.Addr4(), greeting.Addr6()} {
		seen := map[string]bool{}
		for range 40 {
			seen[greet(t, client, addr)] = true
		}
		if len(seen) != 2 {
			t.Errorf("%s: greeted by %v, want both", addr, seen)
		}
	}
	for _, addr := range []string{web.Addr4(), web.Addr6()} {
		if by, _ := served(t, client, "http://"+addr+"/"); by == "" {
			t.Errorf("%s: no answer", addr)
		}
	}
	m, err := node.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := m.Sum("culvert_capture_balanced_connections_total", "service", "default/opaque:80"); n != 80 {
		t.Errorf("the kernel balanced %v connections, want 80", n)
	}
	if n := m.Sum("proxy_requests_total", "service", "default/web:80"); n != 2 {
		t.Errorf("%v requests, want 2", n)
	}
}

// greet connects and returns the first line that the server says.
func greet(t *testing.T, client *world.Pod, addr string) string {
	t.Helper()
	c, err := client.Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(fmt.Errorf("read the greeting of %s: %w", addr, err))
	}
	return strings.TrimSpace(line)
}
