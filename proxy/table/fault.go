package table

import (
	"errors"
	"fmt"
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
type faults struct{ list []error }

// at names one field of one resource; in makes a nested one. It is a value
// so that checks can be plain functions that are handed their place.
type at struct {
	to       *faults
	resource string
	field    string
}

// in returns the place of a field inside this one.
func (a at) in(format string, args ...any) at {
	field := format
	if len(args) > 0 {
		field = fmt.Sprintf(format, args...)
	}
	if a.field != "" {
		field = a.field + "." + field
	}
	return at{a.to, a.resource, field}
}

// fault records that this place is wrong.
func (a at) fault(format string, args ...any) {
	a.to.list = append(a.to.list, &FieldError{a.resource, a.field, fmt.Sprintf(format, args...)})
}
