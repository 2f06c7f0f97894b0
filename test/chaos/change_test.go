package chaos

import (
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/world"
)

// changes is how many edits of a route are measured, where there is time.
const changes = 1000

// route marks every answer with the number of its version, and splits by weight.
func route(version int) string {
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: default}
spec:
  parentRefs: [{group: "", kind: Service, name: shop, port: %d}]
  rules:
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: x-version, value: "%d"}]}
    backendRefs:
    - {name: one, port: %d, weight: %d}
    - {name: two, port: %d, weight: %d}
`, httpPort, version, httpPort, version%101, httpPort, 100-version%101)
}

// TestRouteChanges edits a route again and again, in both ways in which a file can
// be written: each edit is live soon, and no request fails by any.
func TestRouteChanges(t *testing.T) {
	t.Run("alone", func(t *testing.T) { changeRoutes(t, changes, 0) })
	t.Run("among 500 services", func(t *testing.T) { changeRoutes(t, changes/10, 500) })
}

// changeRoutes makes so many changes beside so many other services.
func changeRoutes(t *testing.T, changes, others int) {
	w := newTown(t, world.Config{KubeProxy: true})
	w.WritePolicy("others.yaml", strings.Join(slices.Collect(services(others, w.servers[0].pod.IP4)), ""))
	for i, name := range []string{"one", "two"} {
		w.Publish(world.Service{Name: name, Ports: ports()[:1], Endpoints: world.Ready(w.servers[i].pod)})
	}
	w.WritePolicy("route.yaml", route(1))
	w.start(world.NodeConfig{})
	tr := w.traffic()
	tr.flow(100)
	seen := ""
	probe := &httpClient{dial: w.client.Dial, addr: at(w.service.VIP4, httpPort), answer: func(r *http.Response) error {
		if seen = r.Header.Get("X-Version"); r.StatusCode != http.StatusOK {
			return fmt.Errorf("answered %s", r.Status)
		}
		return nil
	}}
	defer probe.close()
	var took [2][]time.Duration // atomically, in place
	end := soakUntil(15 * time.Second)
	for i := 0; i < changes && (i < 100 || time.Now().Before(end)); i++ {
		version, start := i+2, time.Now()
		w.edit("route.yaml", route(version), i%2 == 1)
		w.Wait("the change to be live", func() (bool, error) {
			for range 50 { // as fast as answers come: World.Wait has a pause
				if err := probe.once(t.Context()); err != nil || seen == strconv.Itoa(version) {
					return seen == strconv.Itoa(version), err
				}
			}
			return false, nil
		})
		took[i%2] = append(took[i%2], time.Since(start))
	}
	for i, how := range []string{"renamed into place", "written in place"} {
		slices.Sort(took[i])
		n := len(took[i])
		p50, p99, slowest := took[i][n/2], took[i][n*99/100], took[i][n-1]
		t.Logf("%d edits %s: live in traffic after p50 %v, p99 %v, at most %v", n, how,
			p50.Round(time.Millisecond/10), p99.Round(time.Millisecond/10), slowest.Round(time.Millisecond/10))
		// The promise is 100 ms. A machine that is busy elsewhere may be late now
		// and then, but not half of the time.
		if p50 > 100*time.Millisecond || slowest > 2*time.Second {
			t.Errorf("a change took %v in half of all cases, and up to %v", p50, slowest)
		}
	}
	tr.unharmed(20)
}

// services are so many, of one endpoint each.
func services(n int, endpoint netip.Addr) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range n {
			if !yield(fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: other-%d, namespace: default}
spec: {clusterIP: 10.97.%d.%d, clusterIPs: [10.97.%d.%d], ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: other-%d, namespace: default, labels: {kubernetes.io/service-name: other-%d}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [%s], conditions: {ready: true}}]
`, i, i>>8, i&255, i>>8, i&255, i, i, endpoint)) {
				return
			}
		}
	}
}

// edit writes a policy file: atomically, or in place in two halves, as an editor
// or `cat >` does.
func (w *town) edit(name, text string, inPlace bool) {
	w.t.Helper()
	if !inPlace {
		w.WritePolicy(name, text)
		return
	}
	f, err := os.Create(filepath.Join(w.Policy, name))
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	for _, half := range []string{text[:len(text)/2], text[len(text)/2:]} {
		if _, err := f.WriteString(half); err != nil {
			w.t.Fatal(err)
		}
	}
}
