package route_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/proxy/route"
	"github.com/culvert-mesh/culvert/proxy/table"
)

// request is a route.Request made of strings: "METHOD target", then headers.
type request struct {
	method, path, query []byte
	headers             map[string]string
}

func (r *request) Method() []byte { return r.method }
func (r *request) Path() []byte   { return r.path }
func (r *request) Query() []byte  { return r.query }
func (r *request) Header(name string) ([]byte, bool) {
	v, ok := r.headers[name]
	return []byte(v), ok
}

func parse(line string, headers ...string) *request {
	method, target, _ := strings.Cut(line, " ")
	path, query, _ := strings.Cut(target, "?")
	r := &request{[]byte(method), []byte(path), []byte(query), map[string]string{}}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.headers[name] = value
	}
	return r
}

// build compiles rules into a service, each answering for itself.
func build(t testing.TB, matches ...table.MatchInput) *table.Service {
	t.Helper()
	in := table.ServiceInput{Name: "a/b:80", Origins: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:80")}, Rules: []table.RuleInput{}}
	for i, m := range matches {
		in.Rules = append(in.Rules, table.RuleInput{
			Name: fmt.Sprint(i), Match: m, Action: table.ActionInput{Direct: &table.DirectInput{Status: 200}},
		})
	}
	s, err := table.Build(table.Input{Services: []table.ServiceInput{in}})
	if err != nil {
		t.Fatal(err)
	}
	return s.Services[0]
}

func value(name string, kind table.ValueKind, v string) []table.ValueMatch {
	return []table.ValueMatch{{Name: name, Kind: kind, Value: v}}
}

func invert(name string, kind table.ValueKind, v string) []table.ValueMatch {
	return []table.ValueMatch{{Name: name, Kind: kind, Value: v, Invert: true}}
}

func TestMatch(t *testing.T) {
	path := func(kind table.PathKind, p string) table.MatchInput { return table.MatchInput{PathKind: kind, Path: p} }
	for _, c := range []struct {
		match   table.MatchInput
		yes, no []string // "METHOD target", with headers after |
	}{
		{table.MatchInput{}, []string{"GET /", "POST /a?b", "OPTIONS *"}, nil},
		{path(table.PathExact, "/abc"), []string{"GET /abc", "GET /abc?d"}, []string{"GET /abc/", "GET /Abc", "GET /abcd", "GET /%61bc", "GET /ab"}},
		{path(table.PathPrefix, "/abc"), []string{"GET /abc", "GET /abc/", "GET /abc/def", "GET /abc?x=/"}, []string{"GET /abcd", "GET /ab", "GET /", "GET /x/abc"}},
		{path(table.PathPrefix, "/abc/"), []string{"GET /abc", "GET /abc/", "GET /abc/def"}, []string{"GET /abcd"}},
		{path(table.PathPrefix, "/"), []string{"GET /", "GET /x", "GET /x/y"}, []string{"OPTIONS *"}},
		{path(table.PathStartsWith, "/abc"), []string{"GET /abc", "GET /abcd", "GET /abc/d"}, []string{"GET /ab", "GET /Abc"}},
		{path(table.PathStartsWith, ""), []string{"GET /", "OPTIONS *"}, nil},
		{path(table.PathRegexp, "/v[0-9]+/x"), []string{"GET /v1/x", "GET /v22/x?y"}, []string{"GET /v1/xy", "GET /a/v1/x", "GET /v/x"}},
		{path(table.PathRegexp, "/a|/b"), []string{"GET /a", "GET /b"}, []string{"GET /ab", "GET /a/b"}},
		{path(table.PathRegexp, "(?m)^/a$"), []string{"GET /a"}, []string{"GET /a\n/b"}},
		{table.MatchInput{Method: "GET"}, []string{"GET /"}, []string{"POST /", "get /", "HEAD /"}},
		{table.MatchInput{Headers: value("X-Env", table.ValueExact, "Canary")}, []string{"GET /|x-env: Canary"}, []string{"GET /", "GET /|x-env: canary", "GET /|x-env: Canary,b"}},
		{table.MatchInput{Headers: value("x", table.ValueExact, "")}, []string{"GET /|x: "}, []string{"GET /", "GET /|x: a"}},
		{table.MatchInput{Headers: value("x", table.ValueRegexp, "a.c")}, []string{"GET /|x: abc"}, []string{"GET /|x: abcd", "GET /"}},
		{table.MatchInput{Headers: value("x", table.ValuePresent, "")}, []string{"GET /|x: ", "GET /|x: a"}, []string{"GET /"}},
		{table.MatchInput{Headers: invert("x", table.ValuePresent, "")}, []string{"GET /"}, []string{"GET /|x: "}},
		{table.MatchInput{Headers: invert("x", table.ValueExact, "a")}, []string{"GET /", "GET /|x: b"}, []string{"GET /|x: a"}},
		{table.MatchInput{Query: value("k", table.ValueExact, "v")},
			[]string{"GET /?k=v", "GET /?a&k=v", "GET /?k=v&k=w", "GET /?kk=w&k=v&b"},
			[]string{"GET /", "GET /?k=w&k=v", "GET /?kk=v", "GET /?K=v", "GET /?k", "GET /?k=v%20", "GET /?k=%76", "GET /?k=v=v"}},
		{table.MatchInput{Query: value("k", table.ValueExact, "")}, []string{"GET /?k", "GET /?k=", "GET /?k&k=v"}, []string{"GET /?k=v", "GET /?"}},
		{table.MatchInput{Query: value("k", table.ValueRegexp, "[0-9]+")}, []string{"GET /?k=12"}, []string{"GET /?k=12a", "GET /?k"}},
		{table.MatchInput{Query: value("k", table.ValuePresent, "")}, []string{"GET /?k", "GET /?k=1"}, []string{"GET /?kk=1", "GET /"}},
		{table.MatchInput{Method: "GET", PathKind: table.PathPrefix, Path: "/a", Headers: value("x", table.ValueExact, "1"), Query: value("k", table.ValueExact, "v")},
			[]string{"GET /a?k=v|x: 1"}, []string{"POST /a?k=v|x: 1", "GET /b?k=v|x: 1", "GET /a?k=v", "GET /a|x: 1"}},
	} {
		s := build(t, c.match)
		for i, lines := range [][]string{c.no, c.yes} {
			for _, line := range lines {
				head, header, _ := strings.Cut(line, "|")
				if got := route.Match(s, parse(head, header)) != nil; got != (i == 1) {
					t.Errorf("%+v on %q: %v", c.match, line, got)
				}
			}
		}
	}
}

func TestNoRouteAttached(t *testing.T) {
	s := &table.Service{Default: &table.Rule{Name: "default"}}
	if got := route.Match(s, parse("GET /")); got != s.Default {
		t.Errorf("%v, not the default", got)
	}
	if got := route.Match(build(t), parse("GET /")); got != nil {
		t.Errorf("%v from a service with routes but no rules", got)
	}
}

// naive is the specification in the plainest words: scan, split, compare.
func naive(s *table.Service, matches []table.MatchInput, r *request) *table.Rule {
	for i, m := range matches {
		if naiveHolds(m, r) {
			return s.Rules[i]
		}
	}
	return nil
}

func naiveHolds(m table.MatchInput, r *request) bool {
	path := string(r.path)
	switch m.PathKind {
	case table.PathExact:
		if path != m.Path {
			return false
		}
	case table.PathPrefix:
		want, got := strings.Split(strings.TrimRight(m.Path, "/"), "/"), strings.Split(path, "/")
		if len(got) < len(want) || strings.Join(got[:len(want)], "/") != strings.Join(want, "/") {
			return false
		}
	case table.PathStartsWith:
		if !strings.HasPrefix(path, m.Path) {
			return false
		}
	case table.PathRegexp:
		if regexp.MustCompile("^(?:"+m.Path+")$").FindString(path) != path {
			return false
		}
	}
	if m.Method != "" && m.Method != string(r.method) {
		return false
	}
	for _, h := range m.Headers {
		got, there := r.headers[strings.ToLower(h.Name)]
		if there && h.Kind == table.ValueExact {
			there = got == h.Value
		}
		if there == h.Invert {
			return false
		}
	}
	for _, q := range m.Query {
		holds := false
		for _, part := range strings.Split(string(r.query), "&") {
			name, got, _ := strings.Cut(part, "=")
			if name == q.Name && part != "" {
				holds = q.Kind == table.ValuePresent || got == q.Value
				break
			}
		}
		if holds == q.Invert {
			return false
		}
	}
	return true
}

// randomMatch makes a match over an alphabet so small that rules overlap.
func randomMatch(random *rand.Rand) table.MatchInput {
	var m table.MatchInput
	m.PathKind = table.PathKind(random.IntN(5))
	m.Path = randomPath(random)
	switch m.PathKind {
	case table.PathAny:
		m.Path = ""
	case table.PathRegexp:
		m.Path = strings.ReplaceAll(m.Path, "a", "[ac]+")
	}
	if random.IntN(4) == 0 {
		m.Method = "POST"
	}
	if random.IntN(4) == 0 {
		m.Headers = value("X", table.ValueKind(2*random.IntN(2)), "")
		m.Headers[0].Invert = random.IntN(2) == 0
	}
	if random.IntN(4) == 0 {
		m.Query = value("k", table.ValueExact, []string{"", "1"}[random.IntN(2)])
		m.Query[0].Invert = random.IntN(3) == 0
	}
	return m
}

func randomPath(random *rand.Rand) string {
	path := "/"
	for range random.IntN(6) {
		path += []string{"a", "b", "/", "aa"}[random.IntN(4)]
	}
	return path
}

func randomRequest(random *rand.Rand) *request {
	line := []string{"GET ", "POST "}[random.IntN(2)] + randomPath(random)
	line += []string{"", "?", "?k", "?k=1", "?k=1&k", "?kk=1&k="}[random.IntN(6)]
	if random.IntN(2) == 0 {
		return parse(line)
	}
	return parse(line, "x: "+[]string{"", "1"}[random.IntN(2)])
}

// Scan and index agree with the specification on the first rule that matches.
func TestAgainstTheModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 9))
	for range 300 {
		matches := make([]table.MatchInput, []int{1, 3, 30}[random.IntN(3)])
		for i := range matches {
			matches[i] = randomMatch(random)
		}
		s := build(t, matches...)
		if len(matches) == 30 && s.Paths == nil {
			t.Fatal("no index")
		}
		for range 40 {
			r := randomRequest(random)
			if got, want := route.Match(s, r), naive(s, matches, r); got != want {
				t.Fatalf("%s %s?%s %v: rule %v, want %v, of %+v", r.method, r.path, r.query, r.headers, got, want, matches)
			}
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add(uint64(1), "/a/b", "k=1&k")
	f.Add(uint64(2), "//", "&&=&k")
	f.Add(uint64(3), "", "")
	f.Add(uint64(4), "/a/aa/b/a", "k")
	f.Fuzz(func(t *testing.T, seed uint64, path, query string) {
		random := rand.New(rand.NewPCG(seed, 1))
		matches := make([]table.MatchInput, 20)
		for i := range matches {
			if matches[i] = randomMatch(random); matches[i].PathKind == table.PathRegexp {
				matches[i].PathKind = table.PathExact // the model's anchors differ on newlines
			}
			if matches[i].PathKind == table.PathExact {
				matches[i].Path = randomPath(random)
			}
		}
		s := build(t, matches...)
		r := &request{method: []byte("GET"), path: []byte(path), query: []byte(query)}
		if got, want := route.Match(s, r), naive(s, matches, r); got != want {
			t.Fatalf("%q?%q: rule %v, want %v", path, query, got, want)
		}
	})
}

// More prefixes inside each other than the index takes at a time.
func TestDeeplyNestedPrefixes(t *testing.T) {
	var matches []table.MatchInput
	for i := range 40 {
		matches = append(matches, table.MatchInput{PathKind: table.PathPrefix, Path: "/" + strings.Repeat("a/", 40-i), Method: fmt.Sprint("M", i)})
	}
	s := build(t, matches...)
	for _, i := range []int{0, 7, 39} {
		r := parse(fmt.Sprintf("M%d /%s", i, strings.Repeat("a/", 40)))
		if got := route.Match(s, r); got != s.Rules[i] {
			t.Errorf("method M%d: rule %v", i, got)
		}
	}
}

func TestRewrite(t *testing.T) {
	for _, c := range []struct{ match, prefix, path, want string }{
		// The table of Gateway API's HTTPPathModifier.ReplacePrefixMatch.
		{"/foo", "/xyz", "/foo/bar", "/xyz/bar"},
		{"/foo", "/xyz/", "/foo/bar", "/xyz/bar"},
		{"/foo/", "/xyz", "/foo/bar", "/xyz/bar"},
		{"/foo/", "/xyz/", "/foo/bar", "/xyz/bar"},
		{"/foo", "/xyz", "/foo", "/xyz"},
		{"/foo", "/xyz", "/foo/", "/xyz/"},
		{"/foo", "", "/foo/bar", "/bar"},
		{"/foo", "", "/foo/", "/"},
		{"/foo", "", "/foo", "/"},
		{"/foo", "/", "/foo/", "/"},
		{"/foo", "/", "/foo", "/"},
		{"/", "/xyz", "/bar", "/xyz/bar"},
		{"/", "/", "/bar", "/bar"},
		{"/foo", "/x", "/foo//b%2Fc", "/x//b%2Fc"},
	} {
		m := &build(t, table.MatchInput{PathKind: table.PathPrefix, Path: c.match}).Rules[0].Match
		got := route.AppendRewritten(nil, []byte(c.path), m, &table.Rewrite{ReplacePrefix: true, Prefix: c.prefix})
		if string(got) != c.want {
			t.Errorf("%s with %s for %s: %s, want %s", c.path, c.prefix, c.match, got, c.want)
		}
		got = route.AppendRedirected([]byte("http://h"), []byte(c.path), m, &table.Redirect{ReplacePrefix: true, Prefix: c.prefix})
		if string(got) != "http://h"+c.want {
			t.Errorf("redirect %s: %s", c.path, got)
		}
	}
	m := &table.Match{}
	if got := route.AppendRewritten(nil, []byte("/a"), m, &table.Rewrite{Path: "/b"}); string(got) != "/b" {
		t.Errorf("whole path: %s", got)
	}
	if got := route.AppendRewritten(nil, []byte("/a"), m, &table.Rewrite{Host: "h"}); string(got) != "/a" {
		t.Errorf("host only: %s", got)
	}
}

func TestLongValuesMatchNoExpression(t *testing.T) {
	s := build(t, table.MatchInput{Headers: value("x", table.ValueRegexp, ".*")})
	for n, want := range map[int]bool{table.MaxValueBytes: true, table.MaxValueBytes + 1: false} {
		if got := route.Match(s, parse("GET /", "x: "+strings.Repeat("a", n))) != nil; got != want {
			t.Errorf("%d bytes: %v", n, got)
		}
	}
}

// fixed is a request that allocates nothing itself.
type fixed struct{ method, path, query, header []byte }

func (r *fixed) Method() []byte                    { return r.method }
func (r *fixed) Path() []byte                      { return r.path }
func (r *fixed) Query() []byte                     { return r.query }
func (r *fixed) Header(name string) ([]byte, bool) { return r.header, name == "x-env" }

// mixed makes n rules as policies have them, the last a catch-all.
func mixed(t testing.TB, n int) *table.Service {
	matches := make([]table.MatchInput, n)
	for i := range n - 1 {
		matches[i] = table.MatchInput{PathKind: table.PathPrefix, Path: fmt.Sprintf("/api/v1/resource-%d", i)}
		switch i % 4 {
		case 1:
			matches[i].PathKind = table.PathExact
		case 2:
			matches[i].Method = "POST"
		case 3:
			matches[i].Headers = value("X-Env", table.ValueExact, "canary")
		}
	}
	matches[n-1] = table.MatchInput{PathKind: table.PathPrefix, Path: "/"}
	return build(t, matches...)
}

func bench(n int) *fixed {
	path := fmt.Sprintf("/api/v1/resource-%d/items/42", max(0, n-3))
	return &fixed{[]byte("GET"), []byte(path), []byte("a=b&k=v"), []byte("prod")}
}

func TestMatchAllocatesNothing(t *testing.T) {
	rules := []table.MatchInput{
		{PathKind: table.PathRegexp, Path: "/x/[a-z]+"},
		{Headers: value("x-env", table.ValueRegexp, "c.*")},
		{Query: value("k", table.ValueRegexp, "w+")},
		{Query: value("k", table.ValueExact, "v"), Headers: value("x-env", table.ValueExact, "prod")},
	}
	for name, s := range map[string]*table.Service{"kinds": build(t, rules...), "1": mixed(t, 1), "20": mixed(t, 20), "1000": mixed(t, 1000)} {
		r := bench(1000)
		if n := testing.AllocsPerRun(100, func() {
			if route.Match(s, r) == nil {
				t.Error("no match")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	m := &mixed(t, 1).Rules[0].Match
	buf := make([]byte, 0, 100)
	w := &table.Rewrite{ReplacePrefix: true, Prefix: "/x"}
	if n := testing.AllocsPerRun(100, func() { route.AppendRewritten(buf, []byte("/a/b")[:], m, w) }); n != 0 {
		t.Errorf("rewrite: %v allocations", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 6, 12, 20, 1000} {
		s, r := mixed(b, n), bench(n)
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				route.Match(s, r)
			}
		})
		scanned := *s
		scanned.Paths = nil
		b.Run(fmt.Sprintf("%d/scan", n), func(b *testing.B) {
			for b.Loop() {
				route.Match(&scanned, r)
			}
		})
	}
}
