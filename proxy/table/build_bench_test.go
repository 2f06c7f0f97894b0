package table_test

import (
	"fmt"
	"testing"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// BenchmarkBuild: 5,000 services, each with 5 rules and 10 endpoints.
func BenchmarkBuild(b *testing.B) {
	in := large(5000, 10)
	for i := range in.Services {
		s := &in.Services[i]
		for j := range 5 {
			s.Rules = append(s.Rules, table.RuleInput{
				Name:  s.Name,
				Match: table.MatchInput{PathKind: table.PathPrefix, Path: fmt.Sprintf("/api/%d", j), Headers: []table.ValueMatch{{Name: "X-Env", Value: "canary"}}},
				Action: table.ActionInput{
					Forward:        &table.ForwardInput{Backends: []table.WeightedBackend{{Backend: s.Backend, Weight: 1}}},
					RequestHeaders: table.HeaderOps{Set: []table.HeaderValue{{Name: "X-A", Value: "b"}}},
				},
			})
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := table.Build(in); err != nil {
			b.Fatal(err)
		}
	}
}
