package table

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

func compileMatch(where at, in *MatchInput) Match {
	out := Match{PathKind: in.PathKind, Path: in.Path, Method: in.Method}
	path := where.in("path")
	switch in.PathKind {
	case PathAny:
		if in.Path != "" {
			path.fault("is set, but the match is for any path")
		}
	case PathExact:
		checkPath(path, in.Path)
	case PathPrefix:
		checkPath(path, in.Path)
		// Gateway API PathPrefix: "a trailing / is ignored".
		out.Path = strings.TrimRight(in.Path, "/")
	case PathStartsWith:
		if in.Path != "" {
			checkPath(path, in.Path)
		}
	case PathRegexp:
		out.PathRegexp = compileRegexp(path, in.Path)
	default:
		where.in("pathKind").fault("is %d, which is not a kind of match", in.PathKind)
	}
	if in.Method != "" && !isToken(in.Method) {
		where.in("method").fault("%q is not a method", in.Method)
	}
	out.Headers = compileTests(where, "headers", in.Headers)
	out.Query = compileTests(where, "query", in.Query)
	return out
}

// compileTests compiles header or query matches; field says which.
func compileTests(where at, field string, in []ValueMatch) []ValueTest {
	var out []ValueTest
	for i := range in {
		m := &in[i]
		here := where.item(field, i)
		test := ValueTest{Name: m.Name, Kind: m.Kind, Value: m.Value, Invert: m.Invert}
		if field == "headers" {
			test.Name = strings.ToLower(m.Name)
			if !isToken(m.Name) {
				here.in("name").fault("%q is not a header name", m.Name)
			}
		} else if m.Name == "" || hasControl(m.Name) {
			here.in("name").fault("%q is not a query parameter's name", m.Name)
		}
		switch m.Kind {
		case ValueExact:
			checkValue(here.in("value"), m.Name, m.Value)
		case ValueRegexp:
			test.Regexp = compileRegexp(here.in("value"), m.Value)
		case ValuePresent:
			if m.Value != "" {
				here.in("value").fault("is set, but only presence is asked for")
			}
		default:
			here.in("kind").fault("is %d, which is not a kind of match", m.Kind)
		}
		out = append(out, test)
	}
	return out
}

// compileRegexp compiles an expression that must match a whole value. RE2 has
// no backtracking; its time is the value's length times the program's, so
// both are bounded. Thousands of them take longer than all the rest of a Build, so
// each is compiled once for as long as it is in use.
func compileRegexp(where at, expr string) *regexp.Regexp {
	for _, of := range []map[string]*regexp.Regexp{where.to.regexps, where.to.before} {
		if known := of[expr]; known != nil {
			where.to.regexps[expr] = known
			return known
		}
	}
	whole := newRegexp(where, expr)
	if whole != nil {
		where.to.regexps[expr] = whole
	}
	return whole
}

func newRegexp(where at, expr string) *regexp.Regexp {
	if len(expr) > MaxValueBytes {
		where.fault("has %d bytes, more than %d", len(expr), MaxValueBytes)
		return nil
	}
	// Alone first: a stray parenthesis must not pair with the group around it.
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		where.fault("is not an RE2 expression: %v", err)
		return nil
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		where.fault("is not an RE2 expression: %v", err)
		return nil
	}
	if len(program.Inst) > MaxRegexpProgram {
		where.fault("compiles to %d instructions, more than %d", len(program.Inst), MaxRegexpProgram)
		return nil
	}
	// \A and \z, not ^ and $: those obey a (?m) inside the expression.
	whole, err := regexp.Compile(`\A(?:` + expr + `)\z`)
	if err != nil {
		where.fault("is not an RE2 expression: %v", err)
		return nil
	}
	return whole
}

// checkPath checks a path that is compared with, or put in place of, the path
// of a request target (RFC 9112 3.2.1).
func checkPath(where at, path string) {
	switch {
	case len(path) > MaxValueBytes:
		where.fault("has %d bytes, more than %d", len(path), MaxValueBytes)
	case !strings.HasPrefix(path, "/"):
		where.fault("%q does not start with /", path)
	case strings.ContainsAny(path, "?#"):
		where.fault("%q has a query or a fragment", path)
	case hasControl(path) || strings.Contains(path, " "):
		where.fault("%q has a space or a control character", path)
	}
}

// checkValue checks a header's or a parameter's value (RFC 9110 5.5).
func checkValue(where at, name, value string) {
	if len(value) > MaxValueBytes {
		where.fault("%s has %d bytes, more than %d", name, len(value), MaxValueBytes)
	}
	if hasControl(value) {
		where.fault("%s has a control character", name)
	} else if strings.Trim(value, " \t") != value {
		// The recipient takes such blanks off, so a match could never hold.
		where.fault("%s has blanks around its value", name)
	}
}

// checkHost checks a Host header's value: uri-host with an optional port
// (RFC 9110 7.2), as far as to keep it from breaking a message apart.
func checkHost(where at, host string) {
	if len(host) > 255+len(":65535") {
		where.fault("has %d bytes", len(host))
	}
	if hasControl(host) || strings.ContainsAny(host, " /?#@\\\"<>") {
		where.fault("%q is not a host", host)
	}
}

// checkName checks a resource's name: it becomes a metric label and a log field.
func checkName(where at, name string) {
	if name == "" {
		where.in("name").fault("is empty")
	} else if len(name) > 512 || hasControl(name) {
		where.in("name").fault("is too long or has a control character")
	}
}

// hasControl reports a CTL other than HTAB (RFC 9110 5.5).
func hasControl(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// isToken reports an RFC 9110 5.6.2 token.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
