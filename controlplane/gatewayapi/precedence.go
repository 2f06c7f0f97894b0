package gatewayapi

import (
	"cmp"
	"slices"

	"github.com/culvert-mesh/culvert/controlplane/model"
)

// ranked is a rule with its place among equals: routes by age, then rules and
// matches as they are written, which is the order in which they are made.
type ranked struct{ rule model.Rule }

// compareAge orders routes that are otherwise equal: the oldest first, then
// alphabetically by "namespace/name" (HTTPRouteRule.matches, Gateway API). An
// object without a timestamp, as files have it, is the youngest.
func compareAge(a, b Route) int {
	at, bt := a.Object.CreationTimestamp, b.Object.CreationTimestamp
	switch {
	case at.IsZero() != bt.IsZero():
		if at.IsZero() {
			return 1
		}
		return -1
	case !at.Time.Equal(bt.Time):
		return at.Time.Compare(bt.Time)
	}
	return cmp.Compare(a.Ref.Name.String(), b.Ref.Name.String())
}

// sortRules puts the rules of one port in the order in which they are tried; rs
// is in the order of ties.
func sortRules(rs []ranked) []model.Rule {
	slices.SortStableFunc(rs, func(a, b ranked) int { return compareMatch(&a.rule.Match, &b.rule.Match) })
	out := make([]model.Rule, len(rs))
	for i := range rs {
		out[i] = rs[i].rule
	}
	return out
}

// compareMatch is the precedence of Gateway API's HTTPRouteRule.matches: an exact
// path, the longest prefix, a method, the most headers, the most query parameters.
func compareMatch(a, b *model.Match) int {
	return cmp.Or(
		cmp.Compare(pathRank(a.PathKind), pathRank(b.PathKind)),
		cmp.Compare(len(b.Path), len(a.Path)),
		cmp.Compare(bit(b.Method != ""), bit(a.Method != "")),
		cmp.Compare(len(b.Headers), len(a.Headers)),
		cmp.Compare(len(b.Query), len(a.Query)),
	)
}

// pathRank orders the kinds of path matches. Exact paths are all as long as the
// request's, so their length decides nothing between two that both match.
func pathRank(k model.PathKind) int {
	switch k {
	case model.PathExact:
		return 0
	case model.PathRegexp:
		return 1
	}
	return 2
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
