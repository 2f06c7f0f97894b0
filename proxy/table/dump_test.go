package table_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/proxy/table"
)

func dump(t *testing.T, s *table.Snapshot) string {
	t.Helper()
	text, err := json.MarshalIndent(s.Dump(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The same policy in another order is the same dump.
func TestDumpIsSorted(t *testing.T) {
	one, other := good(), good()
	slices.Reverse(other.Services)
	slices.Reverse(other.Backends)
	slices.Reverse(other.Services[1].Origins)
	var dumps [2]string
	for i, in := range []table.Input{one, other} {
		s, err := table.Build(in)
		if err != nil {
			t.Fatal(err)
		}
		dumps[i] = dump(t, s)
	}
	if dumps[0] != dumps[1] {
		t.Errorf("one %s\nother %s", dumps[0], dumps[1])
	}
	for _, want := range []string{`"protocol": "opaque"`, `"path_kind": "prefix"`, `"missing": true`, `"connect_timeout": "1s"`} {
		if !strings.Contains(dumps[0], want) {
			t.Errorf("no %s in %s", want, dumps[0])
		}
	}
}
