package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	cases := []struct {
		name, events string
		last         string
		holds        []string
		hides        []string
	}{
		{"pass", `{"Action":"output","Package":"p","Test":"A","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"A"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}`, "1 passed, 0 failed, 0 skipped", []string{"ok  \tp"}, []string{"chatter"}},
		{"fail", `{"Action":"output","Package":"p","Test":"A","Output":"why\n"}
{"Action":"fail","Package":"p","Test":"A"}
{"Action":"fail","Package":"p"}`, "0 passed, 1 failed, 0 skipped", []string{"why"}, nil},
		{"skip", `{"Action":"output","Package":"p","Test":"A","Output":"=== RUN   A\n"}
{"Action":"output","Package":"p","Test":"A","Output":"    a_test.go:1: needs root\n"}
{"Action":"skip","Package":"p","Test":"A"}`, "0 passed, 0 failed, 1 skipped", []string{"needs root"}, nil},
		{"build fails", `{"Action":"build-output","ImportPath":"p","Output":"undefined: x\n"}
{"Action":"fail","Package":"p"}`, "0 passed, 1 failed, 0 skipped", []string{"undefined: x"}, nil},
		{"no events at all", "go: no such tool", "0 passed, 0 failed, 0 skipped", []string{"no such tool"}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			tally := &tally{out: &out, output: map[string][]string{}, broken: map[string]int{}}
			if err := tally.read(strings.NewReader(c.events)); err != nil {
				t.Fatal(err)
			}
			tally.print()
			text := out.String()
			if !strings.HasSuffix(text, c.last+"\n") {
				t.Errorf("ends with %q, want %q", text, c.last)
			}
			for _, want := range c.holds {
				if !strings.Contains(text, want) {
					t.Errorf("%q does not hold %q", text, want)
				}
			}
			for _, hidden := range c.hides {
				if strings.Contains(text, hidden) {
					t.Errorf("%q holds %q", text, hidden)
				}
			}
		})
	}
}
