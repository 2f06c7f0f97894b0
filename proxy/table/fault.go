package table

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// FieldError is one fault of a configuration.
type FieldError struct {
	// Resource is the kind and name of what is at fault: "service a/b:80".
	Resource string
	// Field is the path inside it: "rules[2].match.path".
	Field string
	// Reason says what is wrong, in words for the author of the policy.
	Reason string
}

// Error returns the three parts on one line.
func (e *FieldError) Error() string {
	return e.Resource + ": " + e.Field + ": " + e.Reason
}

// Faults returns every FieldError in an error from Build.
func Faults(err error) []*FieldError {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return nil
	}
	var out []*FieldError
	for _, e := range joined.Unwrap() {
		var f *FieldError
		if errors.As(e, &f) {
			out = append(out, f)
		}
	}
	return out
}

// faults collects what is wrong while a configuration is built.
type faults struct {
	list []error
	// regexps are this build's compiled expressions, before those of the last.
	regexps, before map[string]*regexp.Regexp
}

// at names one field of one resource; in and item make a nested one. It is a
// plain value, so that checks can be plain functions that
// are handed their place, and the path becomes a string only when there is a
// fault: there are a million places in a large configuration.
type at struct {
	to         *faults
	kind, name string
	depth      int
	path       [maxDepth]step
}

// maxDepth is how deep fields nest: rules[0].action.forward.backends[0].requestHeaders.set
// has 6 steps.
const maxDepth = 7

// step is one field, or an element of it when index is not negative.
type step struct {
	field string
	index int
}

// in returns the place of a field inside this one.
func (a at) in(field string) at { return a.item(field, -1) }

// item returns the place of an element of a field inside this one.
func (a at) item(field string, index int) at {
	a.path[a.depth] = step{field, index}
	a.depth++
	return a
}

// fault records that this place is wrong.
func (a at) fault(format string, args ...any) {
	var path strings.Builder
	for i, s := range a.path[:a.depth] {
		if i > 0 {
			path.WriteByte('.')
		}
		path.WriteString(s.field)
		if s.index >= 0 {
			fmt.Fprintf(&path, "[%d]", s.index)
		}
	}
	a.to.list = append(a.to.list, &FieldError{a.kind + " " + a.name, path.String(), fmt.Sprintf(format, args...)})
}
