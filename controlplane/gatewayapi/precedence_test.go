package gatewayapi

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/controlplane/model"
)

// TestPrecedence compares "sorted, the first match wins" with the API's text read
// literally: of all that match, look for the best, criterion by criterion.
func TestPrecedence(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	for round := range 2000 {
		var rules []ranked
		for i := range 1 + random.IntN(8) {
			m := model.Match{Path: pick("/", "/a", "/a/b", "/a/b/c", "/b"), PathKind: model.PathKind(random.IntN(2)), Method: pick("", "", "GET", "PUT")}
			for range random.IntN(3) {
				m.Headers = append(m.Headers, model.ValueMatch{})
			}
			for range random.IntN(3) {
				m.Query = append(m.Query, model.ValueMatch{})
			}
			rules = append(rules, ranked{rule: model.Rule{Name: fmt.Sprint(i), Match: m}})
		}
		path, method := pick("/", "/a", "/a/b", "/a/bc", "/b/x", "/zz"), pick("GET", "PUT", "POST")
		want := naive(rules, path, method)
		got := "none"
		for _, r := range sortRules(rules) {
			if matchesRequest(&r.Match, path, method) {
				got = r.Name
				break
			}
		}
		if got != want {
			t.Fatalf("round %d: %s %s: rule %s, want %s of %+v", round, method, path, got, want, rules)
		}
	}
}

// naive goes through the rules as they are written, so that the first of equals stays.
func naive(rules []ranked, path, method string) string {
	var best *model.Rule
	for i := range rules {
		r := &rules[i].rule
		if matchesRequest(&r.Match, path, method) && (best == nil || better(&r.Match, &best.Match)) {
			best = r
		}
	}
	if best == nil {
		return "none"
	}
	return best.Name
}

func better(a, b *model.Match) bool {
	if a.PathKind != b.PathKind {
		return a.PathKind == model.PathExact
	}
	if len(a.Path) != len(b.Path) {
		return len(a.Path) > len(b.Path)
	}
	if (a.Method != "") != (b.Method != "") {
		return a.Method != ""
	}
	if len(a.Headers) != len(b.Headers) {
		return len(a.Headers) > len(b.Headers)
	}
	return len(a.Query) > len(b.Query)
}

// matchesRequest leaves out headers and query: their number alone matters here.
func matchesRequest(m *model.Match, path, method string) bool {
	if m.Method != "" && m.Method != method {
		return false
	}
	if m.PathKind == model.PathExact || m.Path == "/" && m.PathKind == model.PathPrefix {
		return m.PathKind == model.PathPrefix || m.Path == path
	}
	return path == m.Path || strings.HasPrefix(path, m.Path+"/")
}
