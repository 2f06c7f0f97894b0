package controlplane_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	culvertv1 "github.com/culvert-mesh/culvert/api/v1"
	"github.com/culvert-mesh/culvert/controlplane"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

const (
	web = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1]}]
`
	api   = "apiVersion: v1\nkind: Service\nmetadata: {name: api}\nspec: {clusterIP: 10.96.0.2, ports: [{port: 81, appProtocol: http}]}\n"
	route = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  rules: [{backendRefs: [{name: api, port: 81}]}]
`
	pods = `
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {culvert.dev/mesh: enabled}, annotations: {culvert.dev/netns: /run/netns/a}}
spec: {nodeName: n1}
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {culvert.dev/mesh: enabled}, annotations: {culvert.dev/netns: /run/netns/b}}
spec: {nodeName: n2}
`
)

func TestAddChangeRemoveReconnect(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "web.yaml", web)
	writeFile(t, dir, "pods.yaml", pods)
	p := start(t, dir)
	n := p.connect("n1", nil)
	n.first()
	if got := n.names(resource.ListenerType); got != "default/web:80" {
		t.Fatalf("listeners: %q", got)
	}
	if got := n.names(culvertv1.WorkloadType); got != "default/a" {
		t.Fatalf("workloads of n1: %q, want its own alone", got)
	}

	// Added: what is referred to comes before what refers to it.
	n.order = nil
	p.write("z.yaml", api+"---"+route)
	n.until(func() bool {
		return n.names(resource.RouteType) != "" && n.names(resource.ListenerType) != "default/web:80"
	})
	want := []string{resource.EndpointType, resource.ClusterType, resource.RouteType, resource.ListenerType}
	if !slices.Equal(n.order, want) {
		t.Errorf("order of an addition: %v, want %v", n.order, want)
	}

	// Changed: nothing but the endpoints is sent.
	n.order = nil
	was := n.has[resource.EndpointType]["default/web:80"]
	p.write("web.yaml", strings.Replace(web, "10.0.0.1", "10.0.0.9", 1))
	n.until(func() bool { return n.has[resource.EndpointType]["default/web:80"] != was })
	if !slices.Equal(n.order, []string{resource.EndpointType}) {
		t.Errorf("a change of endpoints sent %v", n.order)
	}

	// Removed: the route goes before the cluster that it names.
	n.order = nil
	if err := os.Remove(filepath.Join(dir, "z.yaml")); err != nil {
		t.Fatal(err)
	}
	n.until(func() bool { return !strings.Contains(n.names(resource.EndpointType), "api") })
	if a, b := slices.Index(n.order, resource.RouteType), slices.Index(n.order, resource.ClusterType); a < 0 || b < a {
		t.Errorf("order of a removal: %v", n.order)
	}

	// Reconnected with what it has: nothing is sent again, not even by another process.
	has := n.has
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir).connect("n1", has)
	if sent := again.first(); sent != 0 {
		t.Errorf("%d resources were sent again", sent)
	}
	if got := again.names(resource.ListenerType); got != "default/web:80" {
		t.Errorf("listeners after reconnect: %q", got)
	}
}

func TestNackIsKeptForStatus(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "web.yaml", web)
	p := start(t, dir)
	n := p.connect("n1", nil)
	n.refuse = func(r *discoveryv3.DeltaDiscoveryResponse) string {
		if r.GetTypeUrl() == resource.ClusterType {
			return "cluster default/web:80: lb_policy: not supported"
		}
		return ""
	}
	n.first()
	// The answer is on its way: the next response to a later request proves that it came.
	p.write("api.yaml", api)
	n.until(func() bool { return strings.Contains(n.names(resource.ClusterType), "api") })
	nodes := p.status.Nodes()
	if len(nodes) != 1 || nodes[0].ID != "n1" {
		t.Fatalf("nodes: %+v", nodes)
	}
	for _, of := range nodes[0].Types {
		if of.Type == "Cluster" && (of.Nacks == 0 || !strings.Contains(of.NackMessage, "lb_policy")) {
			t.Errorf("cluster state: %+v", of)
		}
		if of.Type == "Listener" && (of.Nacks != 0 || of.Sent == 0) {
			t.Errorf("listener state: %+v", of)
		}
	}
	if got := p.status.Totals(); got.Nacks == 0 || got.Streams != 1 {
		t.Errorf("totals: %+v", got)
	}
}

func TestNodeWithoutNameIsRefused(t *testing.T) {
	p := start(t, t.TempDir())
	n := p.connect("", nil)
	if _, err := n.stream.Recv(); err == nil || !strings.Contains(err.Error(), "node.id") {
		t.Errorf("a stream without node.id: %v", err)
	}
}

// TestDirectoryThatComesLater: a node that has a configuration keeps it while the
// directory cannot be read.
func TestDirectoryThatComesLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	p := start(t, dir)
	waitFor(t, func() bool { return len(p.status.Problems()) == 1 })
	answered := make(chan *node, 1)
	go func() {
		answered <- p.connect("n1", map[string]map[string]string{resource.ListenerType: {"default/web:80": "x"}})
	}()
	if err := os.Mkdir(dir+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir+".new", "web.yaml", web)
	if err := os.Rename(dir+".new", dir); err != nil {
		t.Fatal(err)
	}
	n := <-answered
	for n.has[resource.ListenerType]["default/web:80"] == "x" {
		if r := n.next(); len(r.GetRemovedResources()) > 0 {
			t.Fatalf("removed: %v", r.GetRemovedResources())
		}
	}
}

func TestProblemsComeAndGo(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "web.yaml", web)
	p := start(t, dir)
	n := p.connect("n1", nil)
	n.first()
	versions := maps.Clone(n.has[resource.ListenerType])

	p.write("web.yaml", strings.Replace(web, "clusterIP:", "clusterIp:", 1))
	waitFor(t, func() bool { return len(p.status.Problems()) == 1 })
	if got := p.status.Problems()[0].String(); got != "web.yaml:2: Service default/web: spec.clusterIp: unknown field (document 1)" {
		t.Errorf("problem: %s", got)
	}
	checked, err := controlplane.Check(dir)
	if err != nil || len(checked) != 2 {
		// Checked afresh there is no last good version: the slice has no Service either.
		t.Errorf("check: %v, %v", checked, err)
	}
	p.write("web.yaml", web)
	waitFor(t, func() bool { return len(p.status.Problems()) == 0 })
	p.write("api.yaml", api)
	n.until(func() bool { return strings.Contains(n.names(resource.ListenerType), "api") })
	for name, v := range versions {
		if n.has[resource.ListenerType][name] != v {
			t.Errorf("listener %s was sent again, or lost, while its file was broken", name)
		}
	}
	if _, err := controlplane.Check(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("check of a missing directory: %v", err)
	}
}

// waitFor waits for another goroutine's state that has no channel.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("condition does not hold in time")
		}
	}
}

// TestLatency measures the way from a renamed file to the response on the stream.
// The whole way into traffic has 100 ms; this half must leave most of it.
func TestLatency(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "web.yaml", web)
	p := start(t, dir)
	n := p.connect("n1", nil)
	n.first()
	took := make([]time.Duration, 0, 21)
	for i := range cap(took) {
		was := n.has[resource.EndpointType]["default/web:80"]
		text := strings.Replace(web, "10.0.0.1", "10.0.1."+string(rune('0'+i%10)), 1)
		begun := time.Now()
		p.write("web.yaml", text)
		n.until(func() bool { return n.has[resource.EndpointType]["default/web:80"] != was })
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	t.Logf("file to stream: median %v, worst %v", took[len(took)/2], took[len(took)-1])
	if median := took[len(took)/2]; median > 50*time.Millisecond {
		t.Errorf("median %v, want under 50ms", median)
	}
}
