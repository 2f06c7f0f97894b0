package translate

import (
	"regexp"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/controlplane/model"
)

// TestPrefixChange holds Envoy's words to the table of HTTPPathModifier's
// replacePrefixMatch (Gateway API, GEP-726), by doing what Envoy does with them.
func TestPrefixChange(t *testing.T) {
	cases := []struct{ path, prefix, replacement, want string }{
		{"/foo/bar", "/foo", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo", "/xyz/", "/xyz/bar"},
		{"/foo", "/foo", "/xyz", "/xyz"},
		{"/foo/", "/foo", "/xyz", "/xyz/"},
		{"/foo/bar", "/foo", "", "/bar"},
		{"/foo/", "/foo", "", "/"},
		{"/foo", "/foo", "", "/"},
		{"/foo/", "/foo", "/", "/"},
		{"/foo", "/foo", "/", "/"},
		{"/foo/bar", "/foo", "/", "/bar"},
		{"/f.o/bar", "/f.o", "/", "/bar"},
		{"/bar", "/", "/xyz", "/xyz/bar"},
		{"/bar", "/", "/", "/bar"},
		{"/", "/", "/xyz", "/xyz/"},
	}
	for _, c := range cases {
		prefix, expression := prefixChange(&model.Match{Path: c.prefix}, c.replacement)
		got := prefix + strings.TrimPrefix(c.path, c.prefix)
		if expression != nil {
			got = regexp.MustCompile(expression.GetPattern().GetRegex()).ReplaceAllString(c.path, expression.GetSubstitution())
		}
		if got != c.want {
			t.Errorf("%s with %s replaced by %q: %q, want %q", c.path, c.prefix, c.replacement, got, c.want)
		}
	}
}
