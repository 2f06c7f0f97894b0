package main

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// shopRoute sends /v2 to the service api2, the rest to api.
const shopRoute = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: default}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules:
  - name: v2
    matches: [{path: {type: PathPrefix, value: /v2}}]
    filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: x-route, value: v2}]}
    backendRefs: [{name: api2, port: 80}]
  - name: rest
    backendRefs: [{name: api, port: 80}]
`

// shopWorld is one client, two versions of an API and a route between them.
func shopWorld(t *testing.T, c world.Config) (w *world.T, client *world.Pod, vip string) {
	t.Helper()
	w = world.ForTest(t, c)
	client = w.Pod("client", world.PodConfig{})
	var api world.Service
	for i, name := range []string{"api", "api2"} {
		pod := w.Pod(name+"-pod", world.PodConfig{})
		if _, err := pod.HTTPPeer(t.Context(), 8080, peer.Faults{}, name); err != nil {
			t.Fatal(err)
		}
		s := w.Publish(world.Service{Name: name, Ports: []world.Port{{Port: 80, Target: 8080, AppProtocol: "http"}}, Endpoints: world.Ready(pod)})
		if i == 0 {
			api = s
		}
	}
	w.WritePolicy("route.yaml", shopRoute)
	return w, client, api.Addr4()
}

// served asks for a path and says which server answered.
func served(t *testing.T, client *world.Pod, url string) (string, *http.Response) {
	t.Helper()
	c := client.HTTPClient()
	c.Timeout = 5 * time.Second
	defer c.CloseIdleConnections()
	r, err := c.Get(url)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	r.Body.Close()
	return r.Header.Get(peer.ServedBy), r
}

func TestNodeServesAndIsTakenOverAndRemoved(t *testing.T) {
	w, client, vip := shopWorld(t, world.Config{})
	node := w.Node(world.NodeConfig{})
	check := func() {
		t.Helper()
		if by, _ := served(t, client, "http://"+vip+"/"); by != "api" {
			t.Errorf("/ was answered by %q", by)
		}
		if by, r := served(t, client, "http://"+vip+"/v2/x"); by != "api2" || r.Header.Get("x-route") != "v2" {
			t.Errorf("/v2/x was answered by %q with %v", by, r.Header)
		}
	}
	check()
	for page, want := range map[string]string{
		"/debug/table": `"default/api:80"`, "/debug/xds": `"connected": true`, "/debug/workloads": `"name": "client"`,
		"/debug/problems": `"policy": []`, "/debug/capture": `"mode": "proxy"`, "/debug/loops": `"loop": 0`,
		"/debug/endpoints": `"in_flight"`, "/debug/breakers": "[]", "/debug/pools": `"reused"`, "/debug/config": `"node_name"`, "/debug/controlplane": `"generation"`,
	} {
		if text, err := node.Get(t.Context(), page); err != nil || !strings.Contains(text, want) {
			t.Errorf("%s lacks %s: %v\n%s", page, want, err, text)
		}
	}
	m, err := node.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := m.Sum("proxy_requests_total", "service", "default/api:80"); n < 2 {
		t.Errorf("proxy_requests_total is %v", n)
	}
	if n := m.Sum("culvert_capture_total"); n < 2 {
		t.Errorf("culvert_capture_total is %v", n)
	}

	// A crash, and a second process takes the pins over.
	waitSaved(t, w)
	node.Kill()
	node = w.Node(world.NodeConfig{})
	check()
	if text, err := node.Get(t.Context(), "/debug/xds"); err != nil || !strings.Contains(text, `"restored": true`) {
		t.Errorf("the second process did not start from the state: %v\n%s", err, text)
	}
	if err := node.Stop(20 * time.Second); err != nil {
		t.Fatalf("stop: %v\n%s", err, node.Output())
	}
	if err := w.Uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{w.BPFFS, w.State} {
		if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
			t.Errorf("%s holds %v after --uninstall", dir, left)
		}
	}
}
