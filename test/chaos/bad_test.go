package chaos

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/world"
)

// mistake is a policy file that is wrong in one way.
type mistake struct {
	name, file, text string
	want             string // of the one line that tells it
}

func mistakes() []mistake {
	const routeHead = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: %s, namespace: default}\nspec:\n  parentRefs: [{group: \"\", kind: Service, name: %s, port: 80}]\n"
	return []mistake{
		{"no YAML", "broken.yaml", "kind: [\n", "broken.yaml:1"},
		{"half of a route", "route.yaml", route(7)[:200], "route.yaml:1"},
		{"a route that is wrong", "route.yaml", strings.Replace(route(7), "x-version", "no good", 1), "route.yaml:1: HTTPRoute default/shop: spec.rules[0]"},
		{"a dangling backend", "dangling.yaml", fmt.Sprintf(routeHead, "lost", "other") + "  rules: [{backendRefs: [{name: nowhere, port: 80}]}]\n", "dangling.yaml:1: HTTPRoute default/lost: spec.rules[0].backendRefs[0]"},
		{"a dangling parent", "orphan.yaml", fmt.Sprintf(routeHead, "orphan", "nobody") + "  rules: [{backendRefs: [{name: shop, port: 80}]}]\n", "orphan.yaml:1: HTTPRoute default/orphan: spec.parentRefs[0]"},
		{"a duplicate", "zz.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: shop, namespace: default}\nspec: {clusterIP: 10.96.9.9, ports: [{port: 80}]}\n", "zz.yaml:1: Service default/shop: metadata.name"},
		{"an unknown kind", "strange.yaml", "apiVersion: v1\nkind: Strange\nmetadata: {name: x}\n", "strange.yaml:1"},
		{"an address twice", "thief.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: thief, namespace: default}\nspec: {clusterIP: %s, clusterIPs: [%s], ports: [{port: 80}]}\n", "default/thief"},
	}
}

// TestBadPolicy: whatever is wrong is told once, what was fine stays live without
// a request lost, and the file that is made good counts again.
func TestBadPolicy(t *testing.T) {
	w := newTown(t, world.Config{KubeProxy: true})
	for i, name := range []string{"one", "two", "other"} {
		w.Publish(world.Service{Name: name, Ports: ports()[:1], Endpoints: world.Ready(w.servers[i%2].pod)})
	}
	w.WritePolicy("route.yaml", route(1))
	node := w.start(world.NodeConfig{})
	tr := w.traffic()
	tr.flow(100)
	for i, m := range mistakes() {
		start := time.Now()
		text := strings.ReplaceAll(m.text, "%s", w.service.VIP4.String())
		w.WritePolicy(m.file, text)
		w.Wait(m.name+" to be told", func() (bool, error) {
			page, err := node.Get(t.Context(), "/debug/problems")
			return strings.Contains(page, m.want), err
		})
		t.Logf("%s: told after %v", m.name, time.Since(start).Round(time.Millisecond))
		if err := node.WaitOutput(t.Context(), m.want); err != nil {
			t.Error(err)
		}
		tr.flow(100)
		if n := told(node, m.want); n != 1 {
			t.Errorf("%s: told %d times in the log", m.name, n)
		}
		// What is fine goes on to change beside it.
		if m.file != "route.yaml" {
			w.WritePolicy("route.yaml", route(100+i))
			w.waitVersion(100 + i)
			check(t, w.RemovePolicy(m.file))
		}
		w.WritePolicy("route.yaml", route(200+i))
		w.waitVersion(200 + i)
		w.Wait("the problem to be gone", func() (bool, error) {
			page, err := node.Get(t.Context(), "/debug/problems")
			return strings.Contains(page, `"policy": []`) && strings.Contains(page, `"conflicts": []`), err
		})
	}
	// The directory itself goes, and comes back.
	start := time.Now()
	check(t, os.Rename(w.Policy, w.Policy+"-away"))
	w.Wait("the directory to be missed", func() (bool, error) {
		page, err := node.Get(t.Context(), "/debug/problems")
		return strings.Contains(page, "no such file or directory"), err
	})
	t.Logf("no directory: told after %v", time.Since(start).Round(time.Millisecond))
	tr.flow(200)
	check(t, os.Rename(w.Policy+"-away", w.Policy))
	w.WritePolicy("route.yaml", route(300))
	w.waitVersion(300)
	tr.unharmed(20)
}

// told counts the lines of the log that hold text.
func told(n *world.Node, text string) (lines int) {
	for line := range strings.Lines(n.Output()) {
		if strings.Contains(line, text) {
			lines++
		}
	}
	return lines
}

// waitVersion waits until a version of the route answers.
func (w *town) waitVersion(version int) {
	w.t.Helper()
	got := ""
	probe := &httpClient{dial: w.client.Dial, addr: at(w.service.VIP4, httpPort), answer: func(r *http.Response) error {
		got = r.Header.Get("X-Version")
		return nil
	}}
	defer probe.close()
	w.Wait(fmt.Sprintf("version %d of the route", version), func() (bool, error) {
		err := probe.once(w.t.Context())
		return got == fmt.Sprint(version), err
	})
}
