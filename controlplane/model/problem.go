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
	// Line is where in the file, Document in which of its documents; both count
	// from 1. 0: the file as a whole.
	Line, Document int
	// Kind and Name ("namespace/name") name the object, as far as they are known.
	Kind, Name string
	// Field is the path within the object, such as spec.rules[0].backendRefs[1].
	Field  string
	Reason string
	// Effect is what that does to the object, where the source knows: whether a
	// version that it had before stays. String leaves it out.
	Effect string
}

// String is the one line of the problem, which begins as compilers' do so that
// editors find the place: "file:line: Kind name: field: reason (document n)".
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
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
	if p.Document > 0 {
		fmt.Fprintf(&b, " (document %d)", p.Document)
	}
	return b.String()
}

// Long is String with the effect.
func (p Problem) Long() string {
	if p.Effect == "" {
		return p.String()
	}
	return p.String() + "; " + p.Effect
}

// Elsewhere is the problem without its place in the file, to tell whether it is
// news when lines above it come and go.
func (p Problem) Elsewhere() Problem {
	p.Line, p.Document, p.Effect = 0, 0, ""
	return p
}

// SortProblems orders by place and removes repetitions.
func SortProblems(ps []Problem) []Problem {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Document, b.Document), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Field, b.Field), cmp.Compare(a.Reason, b.Reason))
	})
	return slices.Compact(ps)
}

// Fault is what is wrong in one object, before it is known where that stands.
type Fault struct {
	Field, Reason string
	// Line counts from 0 within the document, where a parser tells it.
	Line int
}

// Ref is an object and where it stands.
type Ref struct {
	File string
	// Line is where the document begins; see Problem for it and Document.
	Line, Document int
	Kind           string
	Name           Name
}

// Problem places a fault.
func (r Ref) Problem(field, reason string) Problem {
	name := r.Name.String()
	if r.Name.Namespace == "" {
		name = r.Name.Name
	}
	return Problem{File: r.File, Line: r.Line, Document: r.Document, Kind: r.Kind, Name: name, Field: field, Reason: reason}
}
