package controlplane_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/controlplane/file"
	"github.com/culvert-mesh/culvert/controlplane/model"
	"github.com/culvert-mesh/culvert/controlplane/translate"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

var update = flag.Bool("update", false, "write what comes out into testdata/*.txtar")

// TestGolden reads the *.yaml files of every testdata/*.txtar as a policy
// directory. The comment's line "show: ..." says which resource types are
// compared with the file "xds"; problems are always compared with "problems".
func TestGolden(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { golden(t, path) })
	}
}

func golden(t *testing.T, path string) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var inputs []txtar.File
	want := map[string]string{}
	for _, f := range archive.Files {
		if !strings.HasSuffix(f.Name, ".yaml") {
			want[f.Name] = string(f.Data)
			continue
		}
		inputs = append(inputs, f)
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, problems, err := file.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, more := set.Model(nil)
	got := []txtar.File{
		{Name: "problems", Data: lines(slices.Concat(problems, more))},
		{Name: "xds", Data: dump(t, translate.Model(m), shown(archive.Comment))},
	}
	if *update {
		archive.Files = append(inputs, got...)
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, g := range got {
		if want[g.Name] != string(g.Data) {
			t.Errorf("%s differs (go test -update shows it in git diff); got:\n%s", g.Name, g.Data)
		}
	}
}

func lines(ps []model.Problem) []byte {
	var b bytes.Buffer
	for _, p := range model.SortProblems(ps) {
		b.WriteString(p.String() + "\n")
	}
	return b.Bytes()
}

func shown(comment []byte) []string {
	for line := range strings.Lines(string(comment)) {
		if rest, ok := strings.CutPrefix(line, "show:"); ok {
			return strings.Fields(rest)
		}
	}
	return nil
}

func dump(t *testing.T, r *translate.Resources, types []string) []byte {
	var b bytes.Buffer
	for _, name := range types {
		switch name {
		case "listeners":
			dumpAll(t, &b, name, r.Listeners)
		case "routes":
			dumpAll(t, &b, name, r.Routes)
		case "clusters":
			dumpAll(t, &b, name, r.Clusters)
		case "endpoints":
			dumpAll(t, &b, name, r.Endpoints)
		case "workloads":
			for node, ws := range sorted(r.Workloads) {
				dumpAll(t, &b, "workloads of "+node, ws)
			}
		default:
			t.Fatalf("show: unknown type %q", name)
		}
	}
	return b.Bytes()
}

func dumpAll(t *testing.T, b *bytes.Buffer, title string, ms map[string]proto.Message) {
	for name, m := range sorted(ms) {
		// What the protos' own rules refuse, an Envoy would refuse.
		if v, ok := m.(interface{ ValidateAll() error }); ok {
			if err := v.ValidateAll(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		text, err := protojson.Marshal(m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b.WriteString(title + " " + name + "\n")
		// protojson's white space varies on purpose; Indent settles it.
		var compact bytes.Buffer
		if err := json.Compact(&compact, text); err != nil {
			t.Fatal(err)
		}
		if err := json.Indent(b, compact.Bytes(), "", " "); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n")
	}
}

func sorted[V any](m map[string]V) func(func(string, V) bool) {
	return func(yield func(string, V) bool) {
		keys := make([]string, 0, len(m))
		for k := range m {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
