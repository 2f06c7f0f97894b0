package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWhatCheckPassesNodesTake: rules at the bounds of the API are either told by
// culvert check or taken by a node. A node refuses the whole table of a port, other
// routes' rules too, and nobody who wrote the rule would see it.
func TestWhatCheckPassesNodesTake(t *testing.T) {
	long := strings.Repeat("x", 240)
	cases := map[string]string{
		"timeouts":   "timeouts: {request: 99999h, backendRequest: 99999h}\n    backendRefs: [{name: SVC, port: 80}]",
		"backoff":    "retry: {codes: [500], attempts: 100, backoff: 99999h}\n    backendRefs: [{name: SVC, port: 80}]",
		"backoff3h":  "retry: {codes: [500], attempts: 100, backoff: 3h}\n    backendRefs: [{name: SVC, port: 80}]",
		"program":    "matches: [{path: {type: RegularExpression, value: '/(a{100}){10}.*'}}]\n    backendRefs: [{name: SVC, port: 80}]",
		"program2":   "matches: [{headers: [{type: RegularExpression, name: a, value: '(a|b|c){900}'}]}]\n    backendRefs: [{name: SVC, port: 80}]",
		"regexlen":   "matches: [{path: {type: RegularExpression, value: '/" + strings.Repeat("[ab]", 900) + "'}}]\n    backendRefs: [{name: SVC, port: 80}]",
		"path":       "matches: [{path: {type: PathPrefix, value: '/" + strings.Repeat("a", 1023) + "'}}]\n    backendRefs: [{name: SVC, port: 80}]",
		"pathpct":    "matches: [{path: {type: Exact, value: '/a%20b%2e'}}]\n    backendRefs: [{name: SVC, port: 80}]",
		"header":     "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x, value: '" + strings.Repeat("%", 4096) + "'}], remove: [host, cookie, x-y]}}]\n    backendRefs: [{name: SVC, port: 80}]",
		"hosthdr":    "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: a}], add: [{name: date, value: b}]}}]\n    backendRefs: [{name: SVC, port: 80}]",
		"setadd":     "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: a}], add: [{name: A, value: b}], remove: [a]}}]\n    backendRefs: [{name: SVC, port: 80}]",
		"weights":    "backendRefs: [" + strings.TrimSuffix(strings.Repeat("{name: SVC, port: 80, weight: 1000000},", 16), ",") + "]",
		"zero":       "backendRefs: [{name: SVC, port: 80, weight: 0}]",
		"zeroset":    "backendRefs: [{name: SVC, port: 80, weight: 0}, {name: nobody, port: 80, weight: 0}]",
		"redirect":   "filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: " + strings.Repeat("a.", 120) + "example, port: 65535, statusCode: 308, path: {type: ReplaceFullPath, replaceFullPath: '/%25'}}}]",
		"redirect2":  "filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: ''}}}]",
		"redirect3":  "matches: [{path: {type: PathPrefix, value: /a}}]\n    filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}]",
		"rewrite":    "matches: [{path: {type: PathPrefix, value: /a/b}}]\n    filters: [{type: URLRewrite, urlRewrite: {hostname: example.com, path: {type: ReplacePrefixMatch, replacePrefixMatch: /%20/}}}]\n    backendRefs: [{name: SVC, port: 80}]",
		"rewrite2":   "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: '/a%20b'}}}]\n    backendRefs: [{name: SVC, port: 80}]",
		"rewrite3":   "matches: [{path: {type: PathPrefix, value: '/a.(b'}}]\n    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]\n    backendRefs: [{name: SVC, port: 80}]",
		"query":      "matches: [{queryParams: [{name: a, value: 'b c é'}, {name: A, value: '%'}], headers: [{name: a, value: ' '}], method: CONNECT}]\n    backendRefs: [{name: SVC, port: 80}]",
		"queryvalue": "matches: [{queryParams: [{name: a, value: \"x\\ny\"}]}]\n    backendRefs: [{name: SVC, port: 80}]",
		"hdrvalue":   "matches: [{headers: [{name: a, value: \"x\\ny\"}]}]\n    backendRefs: [{name: SVC, port: 80}]",
		"biglist":    "matches: [{headers: [{name: a, value: '" + strings.Repeat("v", 5000) + "'}]}]\n    backendRefs: [{name: SVC, port: 80}]",
		"rulename":   "name: " + long + "\n    backendRefs: [{name: SVC, port: 80}]",
	}
	dir := t.TempDir()
	var b strings.Builder
	for name, rule := range cases {
		i := strings.Count(b.String(), "kind: HTTPRoute") + 1
		svc := strings.ToLower(name) + "-service"
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {clusterIP: 10.96.1.%d, ports: [{name: http, port: 80}]}\n", svc, i)
		fmt.Fprintf(&b, "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: %s}\nspec:\n"+
			"  parentRefs: [{group: '', kind: Service, name: %s}]\n  rules:\n  - %s\n", strings.ToLower(name), svc, strings.ReplaceAll(rule, "SVC", svc))
	}
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	_, told, _ := culvert(t, "check", dir)
	for _, name := range []string{"timeouts", "backoff", "program", "program2", "header", "hosthdr", "query", "queryvalue", "hdrvalue", "biglist"} {
		if !strings.Contains(told, "HTTPRoute default/"+name+": ") {
			t.Errorf("nothing is said about %s", name)
		}
	}
	client, updates := meet(t, dir)
	next(t, client, updates)
	if s := client.Status(); len(s.Refused)+len(s.Waiting)+len(s.Conflicts) > 0 {
		t.Errorf("refused %q, waiting for %q, conflicts %q; check says\n%s", s.Refused, s.Waiting, s.Conflicts, told)
	}
}
