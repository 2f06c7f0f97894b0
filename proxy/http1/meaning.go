package http1

import "bytes"

// maxConnOptions bounds the elements of all Connection fields: each is compared
// with every field. RFC 9110 5.6.1.2 asks to take a reasonable number of empty ones.
const maxConnOptions = 32

// maxLengthDigits keeps Content-Length below 10^18, so that it cannot overflow.
const maxLengthDigits = 18

// interpret acts on the line of a known field, just complete.
func (h *Head) interpret(f *field) fault {
	if h.side == ofTrailer {
		// A framing, routing or connection field in a trailer is an attack or a
		// fault; somebody behind us might merge it (RFC 9110 6.5.1).
		return faultTrailer
	}
	f.drop = f.known.ofConnection()
	v := h.value(f)
	switch f.known {
	case contentLength:
		return h.contentLength(v)
	case transferEncoding:
		return h.transferEncoding(v)
	case connection:
		return h.connection(v)
	case upgrade:
		return h.upgrade(v)
	case lookalike:
		return faultName
	}
	if h.side == ofRequest {
		return h.interpretRequest(f, v)
	}
	return faultNone
}

func (h *Head) interpretRequest(f *field, v []byte) fault {
	switch f.known {
	case host:
		if h.hostField >= 0 {
			return faultHostDuplicate
		}
		h.hostField = int32(len(h.fields) - 1)
		if !validHost(v) {
			return faultHostInvalid
		}
	case te:
		// Only "trailers" outlives the hop, because we carry them (RFC 9110 10.1.4).
		for more := true; more; {
			var coding []byte
			if coding, v, more = cutComma(v); foldEqual(coding, "trailers") {
				h.seen |= seenTrailersOK
			}
		}
	case expect:
		if !foldEqual(v, "100-continue") {
			return faultExpect
		}
		h.seen |= seenExpect
	}
	return faultNone
}

// contentLength refuses a second one even if equal. RFC 9110 8.6 allows either, but
// no sound sender repeats it, and a server behind us may look at the other one.
func (h *Head) contentLength(v []byte) fault {
	if h.length >= 0 {
		return faultLengthDuplicate
	}
	if len(v) == 0 || len(v) > maxLengthDigits {
		return faultLengthInvalid
	}
	n := int64(0)
	for _, c := range v {
		if c < '0' || c > '9' {
			return faultLengthInvalid
		}
		n = n*10 + int64(c-'0')
	}
	h.length = n
	return faultNone
}

// transferEncoding takes "chunked" and nothing else (RFC 9112 6.1).
func (h *Head) transferEncoding(v []byte) fault {
	if h.has(seenCoding) {
		return faultCodingDuplicate
	}
	if foldEqual(v, "chunked") {
		h.seen |= seenCoding
		return faultNone
	}
	// A well-formed list that ends in chunked has codings that we do not know: 501.
	// Anything else has no end that all would agree on: 400 (RFC 9112 6.3).
	last := false
	for more := true; more; {
		var coding []byte
		coding, v, more = bytes.Cut(v, []byte(","))
		coding = trimSpace(coding)
		if last || len(coding) == 0 || !allOf(coding, isToken) {
			return faultCodingInvalid
		}
		last = foldEqual(coding, "chunked")
	}
	if !last {
		return faultCodingInvalid
	}
	return faultCodingUnknown
}

func (h *Head) connection(v []byte) fault {
	for more := true; more; {
		var option []byte
		option, v, more = cutComma(v)
		if h.connOptions++; h.connOptions > maxConnOptions {
			return faultConnection
		}
		switch {
		case len(option) == 0:
		case foldEqual(option, "keep-alive"):
			h.seen |= seenKeep
		case foldEqual(option, "close"):
			h.seen |= seenClose
		case foldEqual(option, "upgrade"):
			h.seen |= seenUpgrade
		case !allOf(option, isToken):
			return faultConnection
		default:
			h.seen |= seenOthers
		}
	}
	return faultNone
}

// cutComma splits off the first element of a list (RFC 9110 5.6.1).
func cutComma(v []byte) (element, rest []byte, more bool) {
	if i := bytes.IndexByte(v, ','); i >= 0 {
		return trimSpace(v[:i]), v[i+1:], true
	}
	return trimSpace(v), nil, false
}

// upgrade takes one field of protocols, name ["/" version] each (RFC 9110 7.8).
func (h *Head) upgrade(v []byte) fault {
	if h.upgradeField >= 0 {
		return faultUpgrade
	}
	h.upgradeField = int32(len(h.fields) - 1)
	for more := true; more; {
		var protocol []byte
		protocol, v, more = cutComma(v)
		name, version, slash := bytes.Cut(protocol, []byte("/"))
		if len(name) == 0 || !allOf(name, isToken) || slash && (len(version) == 0 || !allOf(version, isToken)) {
			return faultUpgrade
		}
	}
	return faultNone
}

// finish settles what needs the whole section.
func (h *Head) finish(minor int) fault {
	if h.has(seenCoding) {
		if minor == 0 {
			return faultCodingVersion // RFC 9112 6.1: treat the framing as faulty
		}
		if h.length >= 0 {
			return faultFraming // RFC 9112 6.1: an attempt at smuggling
		}
	}
	if h.has(seenOthers) {
		h.dropNominated()
	}
	return faultNone
}

// dropNominated marks the fields that Connection names (RFC 9110 7.6.1).
func (h *Head) dropNominated() {
	for i := range h.fields {
		if h.fields[i].known != connection {
			continue
		}
		v := h.value(&h.fields[i])
		for more := true; more; {
			var option []byte
			if option, v, more = cutComma(v); len(option) > 0 && nominable(option) {
				h.drop(option)
			}
		}
	}
}

func (h *Head) drop(name []byte) {
	for i := range h.fields {
		if f := &h.fields[i]; int(f.nameEnd-f.start) == len(name) && foldEqual(h.name(f), name) {
			f.drop = true
		}
	}
}

// persists is RFC 9112 9.3.
func (h *Head) persists(minor int) bool {
	if h.has(seenClose) {
		return false
	}
	return minor >= 1 || h.has(seenKeep)
}

// upgradeTo is the protocols asked for, or given with a 101.
func (h *Head) upgradeTo(minor int) []byte {
	if h.upgradeField < 0 || !h.has(seenUpgrade) || minor == 0 {
		return nil
	}
	v := h.value(&h.fields[h.upgradeField])
	if offersH2C(v) {
		return nil
	}
	return v
}

// offersH2C: a tunnel of HTTP/2 would carry requests past routing and policy.
func offersH2C(v []byte) bool {
	for more := true; more; {
		var protocol []byte
		protocol, v, more = cutComma(v)
		if len(protocol) >= 3 && foldEqual(protocol[:3], "h2c") {
			return true
		}
	}
	return false
}
