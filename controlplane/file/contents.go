package file

import (
	"time"

	"github.com/culvert-mesh/culvert/controlplane/model"
	"github.com/culvert-mesh/culvert/controlplane/objects"
)

// contents is what is live of one file.
type contents struct {
	name  string
	stamp stamp
	// entries are live, in the order of their documents.
	entries []entry
	// live is the first entry of each object.
	live     map[objects.Key]objects.Object
	problems []model.Problem
	// failure is why the file cannot be read; "": it can.
	failure string
	// writingSince is since when the file is left for later; zero: it is not.
	writingSince time.Time
	// decoded is what each document's text means: of a file of a thousand documents
	// an edit changes one, and decoding is what takes the time.
	decoded map[string]decoded
	// known are faulty documents that hide no object of ours: they were faulty
	// when the file was first read, as a kind that we do not read is.
	known map[objects.Key]bool
}

// decoded is the outcome of objects.Decode. Objects are not changed after it, so
// two versions of a file may share one.
type decoded struct {
	object objects.Object
	faults []model.Fault
}

// entry is one live object.
type entry struct {
	at     place
	object objects.Object
}

// place is a document in a file; both count from 1.
type place struct{ document, line int }

func (c *contents) ref(at place, k objects.Key) model.Ref {
	return model.Ref{File: c.name, Line: at.line, Document: at.document, Kind: k.Kind, Name: k.Name}
}

// effect says what a faulty document does; live: its object has a last version.
// What was good is known to this process only: after a start nothing is.
func (c *contents) effect(live bool) string {
	switch {
	case live:
		return "the object's last good version stays until this process ends"
	case c.stamp == stamp{}:
		return "not live: this process has seen no good version of it"
	}
	return "not live; nothing goes away from this file meanwhile"
}

// fail notes why the file cannot be read; true: that is news.
func (c *contents) fail(err error) bool {
	news := c.failure != err.Error()
	c.failure = err.Error()
	return news
}

// add makes an object live.
func (c *contents) add(at place, o objects.Object) {
	c.entries = append(c.entries, entry{at, o})
	if _, twice := c.live[o.Key]; !twice {
		c.live[o.Key] = o
	}
}

// decode decodes a document, unless the old contents had the very same.
func (c *contents) decode(document []byte, old *contents) (objects.Object, []model.Fault) {
	text := string(document)
	d, same := old.decoded[text]
	if !same {
		d.object, d.faults = objects.Decode(document)
	}
	c.decoded[text] = d
	return d.object, d.faults
}

// parse reads a file's bytes, and keeps of what was live before what the bytes may
// hold, but cannot be understood.
func parse(name string, data []byte, old *contents) *contents {
	c := &contents{
		name:    name,
		live:    map[objects.Key]objects.Object{},
		decoded: map[string]decoded{},
		known:   map[objects.Key]bool{},
	}
	var unclear place // the last document that may be any object
	for i, document := range objects.Documents(data) {
		if document.Text == nil {
			continue
		}
		at := place{i + 1, document.Line}
		object, faults := c.decode(document.Text, old)
		last, live := old.live[object.Key]
		for _, f := range faults {
			problem := c.ref(at, object.Key).Problem(f.Field, f.Reason)
			problem.Line += f.Line
			problem.Effect = old.effect(live)
			c.problems = append(c.problems, problem)
		}
		switch {
		case object.Value != nil:
			c.add(at, object)
		case live:
			c.add(at, last)
		case object.Key == objects.Key{}:
			unclear = at
		case old.stamp == stamp{} || old.known[object.Key]:
			c.known[object.Key] = true
		default:
			unclear = at
		}
	}
	if unclear != (place{}) {
		c.keep(old, unclear)
	}
	return c
}

// keep takes over what is missing of the old contents: it may be in the document
// that nobody understands.
func (c *contents) keep(old *contents, at place) {
	for _, e := range old.entries {
		if _, there := c.live[e.object.Key]; !there {
			c.add(at, e.object)
		}
	}
}
