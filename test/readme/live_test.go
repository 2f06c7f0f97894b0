package readme_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// The table of flags and `culvert node -h` say the same.
func TestFlags(t *testing.T) {
	w := world.ForTest(t, world.Config{})
	binary, err := w.Binary()
	if err != nil {
		t.Fatal(err)
	}
	var inHelp, inReadme []string
	for _, m := range regexp.MustCompile(`(?m)^  -([a-z-]+)`).FindAllStringSubmatch(w.Run(w.Host, binary, "node", "-h"), -1) {
		inHelp = append(inHelp, m[1])
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)").FindAllStringSubmatch(readme(t), -1) {
		inReadme = append(inReadme, m[1])
	}
	slices.Sort(inReadme)
	if !slices.Equal(inHelp, inReadme) {
		t.Errorf("flags of culvert node: %v\nflags in the README: %v", inHelp, inReadme)
	}
}

// Every metric that the README names is there after one request, and every
// metric of ours that is there is in the README.
func TestMetrics(t *testing.T) {
	w := world.ForTest(t, world.Config{})
	client, server := w.Pod("client", world.PodConfig{}), w.Pod("server", world.PodConfig{})
	if _, err := server.HTTPPeer(t.Context(), 8080, peer.Faults{}, ""); err != nil {
		t.Fatal(err)
	}
	s := w.Publish(world.Service{Name: "api", Ports: []world.Port{{Port: 80, Target: 8080}}, Endpoints: world.Ready(server)})
	node := w.Node(world.NodeConfig{})
	resp, err := client.HTTPClient().Get("http://" + s.Addr4() + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	m, err := node.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`(?:proxy|culvert)_[^|]*)\\|").FindAllStringSubmatch(readme(t), -1) {
		for _, name := range regexp.MustCompile("`([a-z_*]+)`").FindAllStringSubmatch(row[1], -1) {
			named = append(named, name[1])
		}
	}
	covers := func(pattern, name string) bool {
		prefix, wild := strings.CutSuffix(pattern, "*")
		return pattern == name || wild && strings.HasPrefix(name, prefix)
	}
	for _, pattern := range named {
		there := slices.ContainsFunc(m.Names(), func(name string) bool { return covers(pattern, name) })
		// Some come with the first fault, retry or opaque connection only.
		if !there && !inSource(t, pattern) {
			t.Errorf("the README names %s, which is not there", pattern)
		}
	}
	for _, name := range m.Names() {
		ours := strings.HasPrefix(name, "proxy_") || strings.HasPrefix(name, "culvert_")
		if ours && !slices.ContainsFunc(named, func(pattern string) bool { return covers(pattern, name) }) {
			t.Errorf("%s is not in the README", name)
		}
	}
}

// inSource says whether the code names a metric, with or without the prefix
// that collectors put before their names.
func inSource(t *testing.T, name string) bool {
	t.Helper()
	short := strings.TrimPrefix(name, "culvert_")
	for _, pattern := range []string{"../../proxy/*.go", "../../proxy/telemetry/*.go", "../../node/*.go", "../../node/xds/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), `"`+name+`"`) || strings.Contains(string(text), `"`+short+`"`) {
				return true
			}
		}
	}
	return false
}
