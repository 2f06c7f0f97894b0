package model

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with the policy, for a person to read.
type Problem struct {
	// File is the file's name in the policy directory; "" for other sources.
	File string
	// Document counts from 1 within the file; 0: the file as a whole.
	Document int
	// Kind and Name ("namespace/name") name the object, as far as they are known.
	Kind, Name string
	// Field is the path within the object, such as spec.rules[0].backendRefs[1].
	Field  string
	Reason string
}

// String is the one line of the problem: "file:document: Kind name: field: reason".
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Document > 0 {
			fmt.Fprintf(&b, ":%d", p.Document)
		}
		b.WriteString(": ")
	}
	if object := strings.TrimSpace(p.Kind + " " + p.Name); object != "" {
		b.WriteString(object + ": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	// A reason may quote a parser that writes several lines.
	b.WriteString(strings.Join(strings.Fields(p.Reason), " "))
	return b.String()
}

// SortProblems orders by place and removes repetitions.
func SortProblems(ps []Problem) []Problem {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Document, b.Document),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Field, b.Field), cmp.Compare(a.Reason, b.Reason))
	})
	return slices.Compact(ps)
}

// Fault is what is wrong in one object, before it is known where that stands.
type Fault struct{ Field, Reason string }

// Ref is an object and where it stands.
type Ref struct {
	File     string
	Document int
	Kind     string
	Name     Name
}

// Problem places a fault.
func (r Ref) Problem(field, reason string) Problem {
	name := r.Name.String()
	if r.Name.Namespace == "" {
		name = r.Name.Name
	}
	return Problem{File: r.File, Document: r.Document, Kind: r.Kind, Name: name, Field: field, Reason: reason}
}
