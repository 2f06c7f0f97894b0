package imports_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/culvert-mesh/culvert"

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath, Name, Dir              string
	Imports                            []string
	GoFiles, TestGoFiles, XTestGoFiles []string
}

// listOnce runs go list once for all tests.
var listOnce = sync.OnceValues(list)

// ours lists the packages of the module.
func ours(t *testing.T) []listed {
	t.Helper()
	all, err := listOnce()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func list() ([]listed, error) {
	out, err := exec.Command("go", "list", "-e", "-json", module+"/...").Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the list of packages: %w", err)
		}
		all = append(all, p)
	}
}

// room is a package's path below the module.
func (p listed) room() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func TestEveryPackageIsInTheTable(t *testing.T) {
	exists := map[string]bool{}
	for _, p := range ours(t) {
		exists[p.room()] = true
	}
	inTable := map[string]bool{}
	for _, r := range rooms() {
		inTable[r.path] = true
		if !exists[r.path] {
			t.Errorf("package %q is in the table and not in the module: take it out of the table", r.path)
		}
	}
	for path := range exists {
		if !inTable[path] && !isTest(path) {
			t.Errorf("package %q is not in the table: say what it may import, and why", path)
		}
	}
}

func TestImportsObeyTheTable(t *testing.T) {
	table := map[string]room{}
	for _, r := range rooms() {
		table[r.path] = r
	}
	for _, p := range ours(t) {
		r, ok := table[p.room()]
		if !ok {
			continue
		}
		for _, path := range p.Imports {
			if reason := r.refuses(path); reason != "" {
				t.Errorf("%s imports %s: %s", p.room(), path, reason)
			}
		}
	}
}

// refuses says why a room may not import a path; "" where it may.
func (r room) refuses(path string) string {
	for _, b := range banned() {
		if within(r.path, b.below) && strings.HasPrefix(path, b.prefix) {
			return b.why
		}
	}
	own, isOwn := strings.CutPrefix(path, module+"/")
	switch {
	case isOwn && isTest(own):
		return "test support is for tests"
	case isOwn && own == "proxy/proxytest":
		return "test support is for tests"
	case isOwn:
		for _, may := range r.own {
			if tree, deep := strings.CutSuffix(may, "/..."); own == may || deep && within(own, tree) {
				return ""
			}
		}
		return r.why
	case !strings.Contains(strings.SplitN(path, "/", 2)[0], "."):
		return "" // the standard library
	}
	for _, may := range r.outside {
		if may == "..." || strings.HasPrefix(path, may) {
			return ""
		}
	}
	return r.why
}

func within(path, tree string) bool { return path == tree || strings.HasPrefix(path, tree+"/") }

func isTest(path string) bool { return within(path, "test") }

// The table itself is checked: a rule that refuses nothing would go unseen.
func TestTheTableRefuses(t *testing.T) {
	cases := []struct {
		from, to string
		refused  bool
	}{
		{"proxy/l7", module + "/proxy/http1", false},
		{"proxy/l7", module + "/node/capture", true},
		{"proxy/http1", module + "/proxy/reactor", true},
		{"proxy/http1", "github.com/prometheus/client_golang/prometheus", true},
		{"proxy/http1", "net/http", false},
		{"node", module + "/controlplane", true},
		{"node", "k8s.io/client-go/kubernetes", true},
		{"controlplane/translate", module + "/proxy/table", true},
		{"controlplane/model", "k8s.io/api/core/v1", true},
		{"proxy", module + "/proxy/proxytest", true},
		{"node", module + "/test/world", true},
	}
	for _, c := range cases {
		for _, r := range rooms() {
			if r.path == c.from && (r.refuses(c.to) != "") != c.refused {
				t.Errorf("%s importing %s: refused %t, want %t", c.from, c.to, !c.refused, c.refused)
			}
		}
	}
}
