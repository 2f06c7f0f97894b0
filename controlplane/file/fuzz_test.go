package file

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/culvert-mesh/culvert/controlplane/objects"
)

// FuzzParse turns one file into another and holds the result to what may be live:
// every object is, whole, what one of the two files says.
func FuzzParse(f *testing.F) {
	good := service("a", 80) + service("b", 81)
	route := "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n" +
		"spec: {parentRefs: [{group: \"\", kind: Service, name: a}], rules: [{backendRefs: [{name: b, port: 81}], " +
		"timeouts: {request: 1s}, retry: {codes: [503]}}]}\n"
	f.Add([]byte(good), []byte(good[:60]))
	f.Add([]byte(good+route), []byte(route+"---\n: :\n"))
	f.Add([]byte(route), []byte("%YAML 1.2\n---\n&a [*a]\n...\n---\nkind: Pod\n"))
	f.Add([]byte("{}"), []byte("---\nnull\n--- 1\n"))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		first := parse("x.yaml", before, &contents{})
		first.stamp = stamp{inode: 1}
		second := parse("x.yaml", after, first)
		said := append(decodeAll(before), decodeAll(after)...)
		for _, e := range second.entries {
			if e.object.Value == nil || !contains(said, e.object) {
				t.Errorf("live, but in neither file: %+v", e.object.Key)
			}
		}
		for _, o := range decodeAll(after) {
			if _, live := second.live[o.Key]; !live {
				t.Errorf("good, but not live: %+v", o.Key)
			}
		}
		// Whatever is live must go through the rest without a panic.
		set := &objects.Set{}
		for _, e := range second.entries {
			set.Add(second.ref(e.at, e.object.Key), e.object)
		}
		set.Sort()
		if _, problems := set.Model(nil); problems != nil {
			for _, p := range problems {
				if bytes.ContainsAny([]byte(p.String()), "\n\r") {
					t.Errorf("a problem of several lines: %q", p)
				}
			}
		}
	})
}

func decodeAll(file []byte) []objects.Object {
	var out []objects.Object
	for _, d := range objects.Documents(file) {
		if d.Text == nil {
			continue
		}
		if o, faults := objects.Decode(d.Text); len(faults) == 0 {
			out = append(out, o)
		}
	}
	return out
}

func contains(os []objects.Object, o objects.Object) bool {
	for _, other := range os {
		if reflect.DeepEqual(other, o) {
			return true
		}
	}
	return false
}
