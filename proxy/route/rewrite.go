package route

import (
	"strings"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// AppendRewritten appends the path that a rewrite makes of path, which m has
// matched, and returns the longer dst.
func AppendRewritten(dst, path []byte, m *table.Match, w *table.Rewrite) []byte {
	return appendPath(dst, path, m, replacement{w.Path, w.ReplacePrefix, w.Prefix})
}

// AppendRedirected does the same for a redirect's Location.
func AppendRedirected(dst, path []byte, m *table.Match, r *table.Redirect) []byte {
	return appendPath(dst, path, m, replacement{r.Path, r.ReplacePrefix, r.Prefix})
}

// replacement is what a rewrite and a redirect have in common.
type replacement struct {
	path          string
	replacePrefix bool
	prefix        string
}

// appendPath replaces by segment, as the table of Gateway API's
// HTTPPathModifier says: slashes at the end of either prefix do not count, and
// a path is never left empty.
func appendPath(dst, path []byte, m *table.Match, with replacement) []byte {
	switch {
	case with.path != "":
		return append(dst, with.path...)
	case !with.replacePrefix:
		return append(dst, path...)
	}
	start := len(dst)
	dst = append(dst, strings.TrimRight(with.prefix, "/")...)
	// m.Path has no slash at its end, so the rest starts with one or is empty.
	dst = append(dst, path[min(len(m.Path), len(path)):]...)
	if len(dst) == start {
		return append(dst, '/')
	}
	return dst
}
