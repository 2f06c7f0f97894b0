package http1

// EditKind says what an Edit does.
type EditKind uint8

const (
	// Set replaces all fields of the name by one.
	Set EditKind = iota
	// Add appends one field.
	Add
	// Remove drops all fields of the name.
	Remove
)

// Edit is one change to a head's fields; later edits see the result of earlier
// ones. An edit is ignored when its name is one that framing and the connection own
// (Connection, Content-Length, Transfer-Encoding, Upgrade, TE, Keep-Alive,
// Proxy-Connection), or when name or value could not be sent (so policy can
// never inject a line). In a request Set on Host replaces the host; Add and
// Remove of it are ignored. Expect can only be removed.
type Edit struct {
	Kind        EditKind
	Name, Value string
}

// usable: the edit may be applied to this head. Host is not among its fields.
func (e *Edit) usable() bool {
	if !ValidName(e.Name) || !ValidValue(e.Value) {
		return false
	}
	switch k := recognise(e.Name); k {
	case host, lookalike:
		return false
	case expect:
		return e.Kind == Remove // who waits for 100 (Continue) is the client's to say
	default:
		return !k.ofConnection()
	}
}

// edited: an edit sets or removes the field, so it does not go out as it came.
func edited(edits []Edit, name []byte) bool {
	for i := range edits {
		e := &edits[i]
		if e.Kind != Add && foldEqual(e.Name, name) && e.usable() {
			return true
		}
	}
	return false
}

// appendEdits appends the fields that remain when all edits are applied in order:
// one that is added and then set or removed is not written.
func appendEdits(dst []byte, edits []Edit) []byte {
	for i := range edits {
		e := &edits[i]
		if e.Kind == Remove || !e.usable() || superseded(edits[i+1:], e.Name) {
			continue
		}
		dst = AppendField(dst, e.Name, e.Value)
	}
	return dst
}

func superseded(later []Edit, name string) bool {
	for i := range later {
		e := &later[i]
		if e.Kind != Add && foldEqual(e.Name, name) && e.usable() {
			return true
		}
	}
	return false
}

// hostOf is the last valid Set on Host; "": none.
func hostOf(edits []Edit) string {
	last := ""
	for i := range edits {
		if e := &edits[i]; e.Kind == Set && foldEqual(e.Name, "host") && validHost(e.Value) {
			last = e.Value
		}
	}
	return last
}
