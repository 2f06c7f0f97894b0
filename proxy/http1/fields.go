package http1

// parseFields reads field lines and the empty line after them, from h.scan on
// (RFC 9112 5). done: the section ends at h.scan. It may be entered again at any
// byte with more of the same bytes; a jump into the middle of the line keeps one
// grammar for both the whole head and the split one.
func (h *Head) parseFields(b []byte, maxFields int) (done bool, bad fault) {
	var f *field
	i := h.scan
	if h.phase > phaseLine {
		f = &h.fields[len(h.fields)-1]
	}
	switch h.phase {
	case phaseName:
		goto name
	case phaseSpace:
		goto space
	case phaseValue:
		goto value
	}
line:
	if i >= len(b) {
		return h.wait(phaseLine, i)
	}
	if classes[b[i]]&isToken == 0 {
		return h.lineStart(b, i)
	}
	if len(h.fields) == maxFields {
		return false, h.fail(faultFields)
	}
	h.fields = append(h.fields, field{start: uint32(i)})
	f = &h.fields[len(h.fields)-1]
name:
	if i = runEnd(b, i, isToken); i >= len(b) {
		return h.wait(phaseName, i)
	}
	if b[i] != ':' {
		return false, h.fail(nameFault(b[i]))
	}
	f.nameEnd = uint32(i)
	f.known = recognise(b[f.start:i])
	i++
space:
	if i = runEnd(b, i, isSpace); i >= len(b) {
		return h.wait(phaseSpace, i)
	}
	f.value = uint32(i)
value:
	if i = valueEnd(b, i); i+1 >= len(b) {
		if i == len(b) || b[i] == '\r' {
			return h.wait(phaseValue, i)
		}
	}
	if b[i] != '\r' || b[i+1] != '\n' {
		return false, h.fail(valueFault(b[i]))
	}
	f.end = uint32(trimEnd(b, int(f.value), i))
	if f.known != other {
		if bad = h.interpret(f); bad != faultNone {
			return false, h.fail(bad)
		}
	} else if h.side == ofTrailer && notInTrailer(b[f.start:f.nameEnd]) {
		h.fields = h.fields[:len(h.fields)-1]
	}
	i += 2
	goto line
}

func (h *Head) wait(p phase, i int) (bool, fault) {
	h.phase, h.scan = p, i
	return false, faultNone
}

// lineStart takes the empty line that ends the section, or says what is wrong
// with a line that does not start with a name.
func (h *Head) lineStart(b []byte, i int) (done bool, bad fault) {
	switch b[i] {
	case '\r':
		if i+1 == len(b) {
			return h.wait(phaseLine, i)
		}
		if b[i+1] != '\n' {
			return false, h.fail(faultBareCR)
		}
		h.sectionEnd = i
		h.phase, h.scan = phaseDone, i+2
		return true, faultNone
	case '\n':
		return false, h.fail(faultBareLF)
	case ' ', '\t':
		// Before the first field it would be RFC 9112 2.2's smuggled line, after one
		// obs-fold (RFC 9112 5.2); both are read in two ways out there.
		return false, h.fail(faultFold)
	}
	return false, h.fail(faultName)
}

// nameFault says what a byte after a name that is not a colon means.
func nameFault(c byte) fault {
	switch c {
	case ' ', '\t':
		return faultNameSpace // RFC 9112 5.1: MUST reject
	case '\n':
		return faultBareLF
	}
	return faultName
}

func valueFault(c byte) fault {
	switch c {
	case '\r':
		return faultBareCR
	case '\n':
		return faultBareLF
	}
	return faultValue
}

// trimEnd is the end of the value in b[from:to] without the space after it.
func trimEnd(b []byte, from, to int) int {
	for to > from && classes[b[to-1]]&isSpace != 0 {
		to--
	}
	return to
}
