package objects

import (
	"fmt"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/controlplane/model"
)

// set decodes documents in order; the n-th stands in the file "n.yaml".
func set(t *testing.T, documents ...string) *Set {
	t.Helper()
	out := &Set{}
	for i, text := range documents {
		o, faults := Decode([]byte(text))
		if len(faults) > 0 {
			t.Fatalf("%s: %v", text, faults)
		}
		out.Add(model.Ref{File: fmt.Sprintf("%d.yaml", i), Line: 1, Document: 1, Kind: o.Key.Kind, Name: o.Key.Name}, o)
	}
	out.Sort()
	return out
}

func service(name string, addresses ...string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {clusterIPs: [%s], ports: [{port: 80}]}\n", name, strings.Join(addresses, ","))
}

func pod(name, uid, netns string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, uid: %s, labels: {culvert.dev/mesh: enabled}, annotations: {culvert.dev/netns: %s}}\nspec: {nodeName: n1}\n", name, uid, netns)
}

// owners tells who has what.
func owners(m *model.Model) string {
	var out []string
	for _, s := range m.Services {
		out = append(out, fmt.Sprint(s.Name.Name, s.Addresses))
	}
	for _, w := range m.Workloads {
		out = append(out, w.Name.Name+" "+w.UID+" "+w.Netns)
	}
	return strings.Join(out, "; ")
}

// TestIncumbentsKeep: what was fine stays live when something new wants the same,
// whatever its name and file; without a past the first file counts.
func TestIncumbentsKeep(t *testing.T) {
	b, p := service("b", "10.96.0.1", "fd00::1"), pod("p", "u1", "/ns/p")
	thief, twin, squatter := service("a", "10.96.0.1"), pod("o", "u1", "/ns/o"), pod("m", "u2", "/ns/p")
	before, problems := set(t, b, p).Model(nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, c := range []struct {
		name      string
		documents []string
		before    *model.Model
		want      string
		problems  int
	}{
		{"newcomers", []string{thief, twin, squatter, b, p}, before, "a[]; b[10.96.0.1 fd00::1]; p u1 /ns/p", 3},
		{"no past", []string{thief, squatter, b, p}, nil, "a[10.96.0.1]; b[fd00::1]; m u2 /ns/p", 2},
		{"the owner is gone", []string{thief, squatter}, before, "a[10.96.0.1]; m u2 /ns/p", 0},
		{"the owner gives it away", []string{thief, service("b", "10.96.0.2"), squatter, pod("p", "u1", "/ns/q")}, before,
			"a[10.96.0.1]; b[10.96.0.2]; p u1 /ns/q; m u2 /ns/p", 0},
		{"one address twice", []string{service("b", "10.96.0.1", "10.96.0.1")}, before, "b[10.96.0.1]", 1},
	} {
		m, problems := set(t, c.documents...).Model(c.before)
		if got := owners(m); got != c.want || len(problems) != c.problems {
			t.Errorf("%s: %s, want %s\n%v", c.name, got, c.want, problems)
		}
	}
}
