package table_test

import (
	"fmt"
	"testing"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// expressions is a configuration with a rule for each expression.
func expressions(list ...string) table.Input {
	in := good()
	in.Services[0].Rules = nil
	for _, e := range list {
		in.Services[0].Rules = append(in.Services[0].Rules, table.RuleInput{Name: "r",
			Match:  table.MatchInput{PathKind: table.PathRegexp, Path: e},
			Action: table.ActionInput{Direct: &table.DirectInput{Status: 200}}})
	}
	return in
}

// TestExpressionsAreCompiledOnce for as long as they are in use, and a faulty one is
// a fault each time.
func TestExpressionsAreCompiledOnce(t *testing.T) {
	build := func(before *table.Snapshot, list ...string) (*table.Snapshot, []*table.Rule) {
		t.Helper()
		in := expressions(list...)
		in.Before = before
		s, err := table.Build(in)
		if err != nil {
			t.Fatal(err)
		}
		return s, s.Service(in.Services[0].Origins[0]).Rules
	}
	first, one := build(nil, "/a.*", "/b.*", "/a.*")
	_, two := build(first, "/b.*", "/c.*")
	if one[0].Match.PathRegexp != one[2].Match.PathRegexp || one[1].Match.PathRegexp != two[0].Match.PathRegexp {
		t.Error("the same expression was compiled twice")
	}
	if two[1].Match.PathRegexp.String() != `\A(?:/c.*)\z` {
		t.Errorf("another expression became %v", two[1].Match.PathRegexp)
	}
	for range 2 {
		in := expressions("/a.*", "(")
		in.Before = first
		if _, err := table.Build(in); err == nil {
			t.Error("a faulty expression was built")
		}
	}
}

// BenchmarkRegexps: 2,000 expressions, anew and after a snapshot that has them.
func BenchmarkRegexps(b *testing.B) {
	var list []string
	for i := range 2000 {
		list = append(list, fmt.Sprintf("/api/v[0-9]+/items-%d/.*", i))
	}
	in := expressions(list...)
	s, err := table.Build(in)
	if err != nil {
		b.Fatal(err)
	}
	for name, before := range map[string]*table.Snapshot{"anew": nil, "again": s} {
		b.Run(name, func(b *testing.B) {
			in.Before = before
			for b.Loop() {
				if _, err := table.Build(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
