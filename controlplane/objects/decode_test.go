package objects

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDocuments(t *testing.T) {
	cases := []struct {
		in   string
		want []string
	}{
		{"", []string{"1 "}},
		{"a: 1", []string{"1 a: 1"}},
		{"---\na: 1\n", []string{"2 a: 1\n"}},
		{"a: 1\n---\nb: 2\n", []string{"1 a: 1\n", "3 b: 2\n"}},
		{"a: 1\n--- # why\nb: 2", []string{"1 a: 1\n", "3 b: 2"}},
		{"# c\n\na: 1\n--- {b: 2}\n", []string{"3 a: 1\n", "4  {b: 2}\n"}},
		{"%TAG ! x\na: 1\n", []string{"1 %TAG ! x\na: 1\n"}},
		{"a: 1\n...\nb: 2", []string{"1 a: 1\n", "3 b: 2"}},
		{"# c\n---\n\n---\na: 1\n---", []string{"1 ", "2 ", "5 a: 1\n", "6 "}},
		{"a: |\n  ---\n----\n", []string{"1 a: |\n  ---\n----\n"}},
		{"%YAML 1.2\n---\na: 1\r\n---\r\nb: 2", []string{"1 ", "3 a: 1\r\n", "5 b: 2"}},
	}
	for _, c := range cases {
		var got []string
		for _, d := range Documents([]byte(c.in)) {
			got = append(got, fmt.Sprintf("%d %s", d.Line, d.Text))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

// TestManyDocuments holds reading to linear time: an editor's slip must not stop
// the control plane.
func TestManyDocuments(t *testing.T) {
	file := bytes.Repeat([]byte("---\nkind: X\n"), 100_000)
	begun := time.Now()
	if n := len(Documents(file)); n != 100_000 {
		t.Errorf("%d documents", n)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// TestDecodeBombs feeds what makes YAML readers explode.
func TestDecodeBombs(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'k'; i++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", i-1), 10), ","))
	}
	for _, in := range []string{bomb, strings.Repeat("[", 100_000), strings.Repeat("{a: ", 10_000), "&a [*a]", "\x00", "\xff\xfe", "? a\n: b"} {
		if o, faults := Decode([]byte(in)); len(faults) == 0 || o.Value != nil {
			t.Errorf("%.40q: %+v, no fault", in, o.Key)
		}
	}
}

// FuzzDecode: an object is whole and has a key, or there are faults; never both.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}\n"))
	f.Add([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {culvert.dev/mesh: enabled}}\nstatus: {podIP: ::1}\n"))
	f.Add([]byte("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\nendpoints: [{addresses: [1.2.3.4]}]\nports: [{port: 1}]\n"))
	f.Add([]byte("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec: {rules: [{matches: [{path: {value: /}}], filters: [{type: CORS, cors: {}}]}]}\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		o, faults := Decode(in)
		if (o.Value != nil) == (len(faults) > 0) {
			t.Errorf("value %v with faults %v", o.Value, faults)
		}
		if o.Value != nil && (o.Key.Kind == "" || o.Key.Name.Name == "") {
			t.Errorf("an object without a key: %+v", o)
		}
	})
}
