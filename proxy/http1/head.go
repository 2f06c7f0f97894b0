package http1

import "bytes"

// Defaults of Limits.
const (
	defaultHeadBytes   = 64 << 10
	defaultFields      = 128
	defaultTargetBytes = 8 << 10
)

// Limits bound one head. The zero value of a field means its default.
type Limits struct {
	// HeadBytes bounds the head with its last empty line; default 64 KiB. The
	// buffer given to Parse need never be longer than this. Beyond: 431.
	HeadBytes int
	// Fields bounds the number of field lines; default 128. Beyond: 431.
	Fields int
	// TargetBytes bounds the request target; default 8 KiB. Beyond: 414.
	TargetBytes int
}

func (l *Limits) orDefaults() Limits {
	d := Limits{defaultHeadBytes, defaultFields, defaultTargetBytes}
	if l == nil {
		return d
	}
	if l.HeadBytes > 0 {
		d.HeadBytes = l.HeadBytes
	}
	if l.Fields > 0 {
		d.Fields = l.Fields
	}
	if l.TargetBytes > 0 {
		d.TargetBytes = l.TargetBytes
	}
	return d
}

// field is where one field line is in the buffer. Its line ends where the next
// one starts.
type field struct {
	start, nameEnd, value, end uint32
	known                      known
	// drop: it belongs to this hop, and is not forwarded as it came.
	drop bool
}

// phase is what the byte at Head.scan is part of.
type phase uint8

const (
	phaseStart   phase = iota
	phaseMethod        // requests only, as are the next two
	phaseTarget        // until the target's "?" or end
	phaseQuery         // after it
	phaseVersion       // of a request
	phaseReason        // of a response
	phaseLine          // the start of a field line or of the last, empty line
	phaseName
	phaseSpace // between the colon and the value
	phaseValue
	phaseDone
	phaseFailed
)

// side is whose field section it is: rules differ.
type side uint8

const (
	ofRequest side = iota
	ofResponse
	ofTrailer
)

// Head is the field section of a message: offsets into the buffer that Parse
// was given. What it returns points into that buffer and is valid while its
// bytes are.
type Head struct {
	buf    []byte
	fields []field

	// where Parse is
	phase phase
	side  side
	fault fault
	scan  int // the next byte to look at; bytes before it are never looked at again
	// section is where the field lines start, sectionEnd where the empty line does.
	section, sectionEnd int

	// what the fields say so far
	length       int64 // Content-Length; -1: none
	seen         seen
	hostField    int32 // index of the Host field; -1: none
	upgradeField int32 // of the Upgrade field
	connOptions  int32 // elements of Connection so far, empty ones too
}

// seen are the facts that fields stated.
type seen uint16

const (
	seenCoding     seen = 1 << iota // Transfer-Encoding: chunked
	seenClose                       // Connection: close
	seenKeep                        // Connection: keep-alive
	seenUpgrade                     // Connection: upgrade
	seenOthers                      // Connection names other fields
	seenTrailersOK                  // TE: trailers
	seenExpect                      // Expect: 100-continue
)

func (h *Head) reset(s side) {
	*h = Head{fields: h.fields[:0], side: s, length: -1, hostField: -1, upgradeField: -1}
}

func (h *Head) has(s seen) bool { return h.seen&s != 0 }

// fail makes f final: every later call gives it again.
func (h *Head) fail(f fault) fault {
	h.phase, h.fault = phaseFailed, f
	return f
}

// Moved says that the bytes of the head now start at buf[0] of another buffer.
func (h *Head) Moved(buf []byte) { h.buf = buf }

// Len is the number of field lines.
func (h *Head) Len() int { return len(h.fields) }

// Field is the i-th field line, in the order and case as they came; the value
// without the white space around it.
func (h *Head) Field(i int) (name, value []byte) {
	f := &h.fields[i]
	return h.name(f), h.value(f)
}

func (h *Head) name(f *field) []byte  { return h.buf[f.start:f.nameEnd] }
func (h *Head) value(f *field) []byte { return h.buf[f.value:f.end] }

// Header is the value of the field with this lower-case name; false if there
// is none. Values of repeated fields are joined with ", " (RFC 9110 5.3),
// which allocates; a single one is a slice of the buffer.
func (h *Head) Header(lowerName string) ([]byte, bool) {
	var first []byte
	found := 0
	for i := range h.fields {
		f := &h.fields[i]
		if int(f.nameEnd-f.start) != len(lowerName) || !foldEqual(h.name(f), lowerName) {
			continue
		}
		if found == 0 {
			first = h.value(f)
		}
		found++
	}
	if found > 1 {
		return h.join(lowerName, found), true
	}
	return first, found == 1
}

func (h *Head) join(lowerName string, n int) []byte {
	values := make([][]byte, 0, n)
	for i := range h.fields {
		if f := &h.fields[i]; foldEqual(h.name(f), lowerName) {
			values = append(values, h.value(f))
		}
	}
	return bytes.Join(values, []byte(", "))
}
