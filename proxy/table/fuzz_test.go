package table_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// Whatever a policy's strings are, Build refuses or gives a snapshot that can
// be dumped, and it never lets a line break into what is written to a peer.
func FuzzBuild(f *testing.F) {
	f.Add("/a", "x-a", "v", uint16(503), uint8(2), uint8(0))
	f.Add("/a(b", "X a", "v\r\nw", uint16(301), uint8(4), uint8(1))
	f.Add("", ":path", "", uint16(0), uint8(9), uint8(7))
	f.Fuzz(func(t *testing.T, path, name, text string, code uint16, kind, valueKind uint8) {
		in := good()
		m := match(&in)
		m.PathKind, m.Path = table.PathKind(kind), path
		tests := []table.ValueMatch{{Name: name, Kind: table.ValueKind(valueKind), Value: text}}
		m.Headers, m.Query = tests, tests
		edit(&in, table.HeaderValue{Name: name, Value: text})
		forward(&in).Rewrite = &table.RewriteInput{Host: name, Path: path}
		retries(&in, table.RetryInput{Codes: []uint16{code}})
		s, err := table.Build(in)
		if err != nil {
			if s != nil || len(table.Faults(err)) == 0 {
				t.Fatalf("%v, with a snapshot: %v", err, s != nil)
			}
			return
		}
		if _, err := json.Marshal(s.Dump()); err != nil {
			t.Fatal(err)
		}
		for _, out := range []string{name, text, path} {
			if strings.ContainsAny(out, "\r\n\x00") && kind != uint8(table.PathRegexp) && valueKind != uint8(table.ValueRegexp) {
				t.Fatalf("%q passed", out)
			}
		}
	})
}
