// Package route owns the choice of a rule for one request: which rule of a
// service matches a request's head, and what its path becomes when the rule
// rewrites it.
//
// It must not know connections, codecs or backends: it sees a request through
// the one small interface Request, and rules as proxy/table compiled them. All
// of it is pure; any goroutine may call it, and a loop may because nothing
// blocks or allocates.
//
// What is compared, and how:
//
//   - The path is compared byte by byte as it came, percent-encoding included,
//     without the query; /%61 is not /a, and /a//b is not /a/b. Neither Gateway
//     API nor Envoy normalises by default, and a proxy that did would decide on
//     something else than what the backend sees.
//   - Header names are compared without case (RFC 9110 5.1), header values with
//     it. Lines with the same name count as one, joined with commas (5.2).
//   - Query parameters are compared as Envoy does: the query is split at &, each
//     part at its first =, and the first part with the name counts (Gateway API
//     recommends the first). Nothing is decoded, so a policy that means a blank
//     says %20 or + as its clients do. A part without = has the value "".
//   - Regular expressions are RE2 and must match the whole value. A value longer
//     than table.MaxValueBytes matches none.
package route

import (
	"bytes"
	"regexp"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// Request is what a rule can look at. http1.Request is one.
type Request interface {
	// Method is the method as it came.
	Method() []byte
	// Path is the target's path without the query; Query is what follows the
	// first ?, without it.
	Path() []byte
	Query() []byte
	// Header returns a header's value, several lines joined with commas; name
	// is in lower case.
	Header(name string) ([]byte, bool)
}

// Match returns the first rule of s that matches r: s.Default where no route is
// attached, nil where routes are and none matches (the answer is 404 then).
func Match(s *table.Service, r Request) *table.Rule {
	if s.Rules == nil {
		return s.Default
	}
	if s.Paths != nil {
		var c table.Candidates
		if s.Paths.Find(r.Path(), &c) {
			return among(s.Rules, &c, r)
		}
	}
	path := r.Path()
	for _, rule := range s.Rules {
		if pathHolds(&rule.Match, path) && restHolds(&rule.Match, r) {
			return rule
		}
	}
	return nil
}

// among returns the first candidate that matches wholly.
func among(rules []*table.Rule, c *table.Candidates, r Request) *table.Rule {
	for number := c.Next(); number >= 0; number = c.Next() {
		m := &rules[number].Match
		if m.PathRegexp != nil && !matches(m.PathRegexp, r.Path()) {
			continue
		}
		if restHolds(m, r) {
			return rules[number]
		}
	}
	return nil
}

func pathHolds(m *table.Match, path []byte) bool {
	switch m.PathKind {
	case table.PathAny:
		return true
	case table.PathExact:
		return string(path) == m.Path
	case table.PathPrefix:
		return startsWith(path, m.Path) && (len(path) == len(m.Path) || path[len(m.Path)] == '/')
	case table.PathStartsWith:
		return startsWith(path, m.Path)
	case table.PathRegexp:
		return matches(m.PathRegexp, path)
	}
	return false
}

func startsWith(path []byte, prefix string) bool {
	return len(path) >= len(prefix) && string(path[:len(prefix)]) == prefix
}

// restHolds checks everything but the path.
func restHolds(m *table.Match, r Request) bool {
	if m.Method != "" && string(r.Method()) != m.Method {
		return false
	}
	for i := range m.Headers {
		value, there := r.Header(m.Headers[i].Name)
		if !testHolds(&m.Headers[i], value, there) {
			return false
		}
	}
	for i := range m.Query {
		value, there := parameter(r.Query(), m.Query[i].Name)
		if !testHolds(&m.Query[i], value, there) {
			return false
		}
	}
	return true
}

func testHolds(t *table.ValueTest, value []byte, there bool) bool {
	holds := there
	if there {
		switch t.Kind {
		case table.ValueExact:
			holds = string(value) == t.Value
		case table.ValueRegexp:
			holds = matches(t.Regexp, value)
		}
	}
	return holds != t.Invert
}

// matches bounds what one expression costs a loop: its time is the value's
// length times the program's, so a client that sends a header of 64 KiB to an
// unlucky expression could hold a loop for 100 ms.
func matches(expr *regexp.Regexp, value []byte) bool {
	return len(value) <= table.MaxValueBytes && expr.Match(value)
}

// parameter returns the value of the first parameter called name.
func parameter(query []byte, name string) ([]byte, bool) {
	for len(query) > 0 {
		part := query
		if end := bytes.IndexByte(query, '&'); end >= 0 {
			part, query = query[:end], query[end+1:]
		} else {
			query = nil
		}
		if !startsWith(part, name) {
			continue
		}
		if rest := part[len(name):]; len(rest) == 0 {
			return rest, true
		} else if rest[0] == '=' {
			return rest[1:], true
		}
	}
	return nil, false
}
