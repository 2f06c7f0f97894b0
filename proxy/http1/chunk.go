package http1

import "strconv"

const (
	// maxSizeDigits and maxChunk keep a chunk size from overflowing int64.
	maxSizeDigits = 16
	maxChunk      = 1 << 62
	// maxChunkLine bounds the size and extensions of one chunk, in bytes. Nobody is
	// known to send extensions; they are checked and dropped (RFC 9112 7.1.1).
	maxChunkLine = 1024
	// Trailer sections are rare and small; they are kept in memory.
	maxTrailerBytes = 8 << 10
	maxTrailers     = 64
)

// chunkState is what the next byte of a chunked body is part of (RFC 9112 7.1).
type chunkState uint8

const (
	stateSize        chunkState = iota
	stateExtSpace               // BWS after a value: only ";" may follow
	stateExtName                // before the first byte of a name
	stateExtNameMore            // in it
	stateExtNameEnd             // BWS after it: "=" or ";" may follow
	stateExtValue               // before the first byte of a value
	stateExtValueMore
	stateQuoted
	stateQuotedPair // after "\"
	stateQuotedEnd  // after the closing quote
	stateLineEnd    // LF of a chunk line
	stateData
	stateDataCR
	stateDataLF
	stateTrailers
)

// dechunk decodes all of buf that belongs to the body. Data is moved left over the
// framing between chunks, each byte at most once, so that many small chunks
// come out as one span.
func (b *Body) dechunk(buf []byte) (data []byte, n int, bad fault) {
	from, to := 0, 0 // data so far
	i := 0
	for i < len(buf) && !b.done {
		switch b.state {
		case stateData:
			k := int(min(b.left, int64(len(buf)-i)))
			if from == to {
				from, to = i, i
			}
			if to != i {
				copy(buf[to:], buf[i:i+k])
			}
			to += k
			i += k
			if b.left -= int64(k); b.left == 0 {
				b.state = stateDataCR
			}
		case stateDataCR, stateDataLF:
			if bad = b.dataEnd(buf[i]); bad != faultNone {
				return buf[from:to], i, bad
			}
			i++
		case stateTrailers:
			k, bad := b.takeTrailers(buf[i:])
			i += k
			if bad != faultNone {
				return buf[from:to], i, bad
			}
		default:
			if bad = b.lineByte(buf[i]); bad != faultNone {
				return buf[from:to], i, bad
			}
			i++
		}
	}
	return buf[from:to], i, faultNone
}

func (b *Body) dataEnd(c byte) fault {
	if b.state == stateDataCR {
		b.state = stateDataLF
		if c != '\r' {
			return faultChunkEnd
		}
		return faultNone
	}
	b.state, b.digits, b.line = stateSize, 0, 0
	if c != '\n' {
		return faultChunkEnd
	}
	return faultNone
}

// lineByte takes one byte of chunk-size [chunk-ext] CRLF. A bare LF is refused
// everywhere: those who take one end the line there, those who do not read on.
func (b *Body) lineByte(c byte) fault {
	if b.line++; b.line > maxChunkLine {
		return faultChunkLong
	}
	switch b.state {
	case stateSize:
		return b.sizeByte(c)
	case stateLineEnd:
		if c != '\n' {
			return faultBareCR
		}
		b.state = stateData
		if b.left == 0 {
			b.state = stateTrailers
		}
		return faultNone
	}
	next, ok := extension(b.state, c)
	if !ok {
		return faultChunkExtension
	}
	b.state = next
	return faultNone
}

func (b *Body) sizeByte(c byte) fault {
	if classes[c]&isHex != 0 {
		if b.digits == maxSizeDigits || b.left >= maxChunk>>4 {
			return faultChunkSize
		}
		v := int64(c & 0x0f)
		if c > '9' {
			v += 9 // 'A' and 'a' end in 1
		}
		b.digits++
		b.left = b.left<<4 | v
		return faultNone
	}
	if b.digits == 0 {
		return faultChunkSize
	}
	switch c {
	case '\r':
		b.state = stateLineEnd
	case ';':
		b.state = stateExtName
	default:
		// White space too, although RFC 9112 7.1.1 allows it before a ";": readers do
		// not agree on it (net/http refuses, others cut it off), and nobody sends it.
		return faultChunkSize
	}
	return faultNone
}

// extension is the grammar of RFC 9112 7.1.1:
// *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ).
func extension(s chunkState, c byte) (next chunkState, ok bool) {
	class := classes[c]
	space := class&isSpace != 0
	switch s {
	case stateExtSpace:
		if space {
			return s, true
		}
		return stateExtName, c == ';'
	case stateExtName, stateExtValue:
		switch {
		case space:
			return s, true
		case c == '"' && s == stateExtValue:
			return stateQuoted, true
		}
		return s + 1, class&isToken != 0
	case stateExtNameMore, stateExtNameEnd:
		switch {
		case c == '=':
			return stateExtValue, true
		case class&isToken != 0:
			return s, s == stateExtNameMore
		}
		if space || s == stateExtNameEnd {
			return extensionEnd(c, stateExtNameEnd)
		}
		return extensionEnd(c, s)
	case stateExtValueMore:
		if class&isToken != 0 {
			return s, true
		}
	case stateQuoted:
		switch {
		case c == '"':
			return stateQuotedEnd, true
		case c == '\\':
			return stateQuotedPair, true
		}
		return s, class&isQuoted != 0
	case stateQuotedPair:
		return stateQuoted, class&isValue != 0
	}
	return extensionEnd(c, s)
}

// extensionEnd is what may follow a whole extension. After BWS there must be
// another one.
func extensionEnd(c byte, s chunkState) (next chunkState, ok bool) {
	switch c {
	case '\r':
		return stateLineEnd, s != stateExtNameEnd
	case ';':
		return stateExtName, true
	case ' ', '\t':
		if s == stateExtNameEnd {
			return s, true
		}
		return stateExtSpace, true
	}
	return s, false
}

// takeTrailers keeps a copy of the section, because the caller gives up the
// bytes that Next consumed. k: how many bytes of p belong to the body.
func (b *Body) takeTrailers(p []byte) (k int, bad fault) {
	before := len(b.section)
	k = min(len(p), maxTrailerBytes-before)
	b.section = append(b.section, p[:k]...)
	b.trailers.buf = b.section
	if b.trailers.phase == phaseStart {
		b.trailers.phase = phaseLine
	}
	done, bad := b.trailers.parseFields(b.section, maxTrailers)
	switch {
	case bad != faultNone:
		return k, bad
	case done:
		b.done = true
		b.section = b.section[:b.trailers.scan]
		return b.trailers.scan - before, faultNone
	case len(b.section) == maxTrailerBytes:
		return k, faultTrailerLarge
	}
	return k, faultNone
}

// MaxChunkHead is the most bytes that AppendChunkHead appends.
const MaxChunkHead = 18

// AppendChunkHead appends the line before a chunk of size bytes (> 0). After the
// chunk's data goes CRLF.
func AppendChunkHead(dst []byte, size int) []byte {
	dst = strconv.AppendUint(dst, uint64(size), 16)
	return append(dst, '\r', '\n')
}

// AppendLastChunk appends the end of a chunked body: the chunk of size 0, the trailers
// (nil: none) and the empty line.
func AppendLastChunk(dst []byte, trailers *Head) []byte {
	dst = append(dst, "0\r\n"...)
	if trailers != nil {
		for i := range trailers.fields {
			name, value := trailers.Field(i)
			dst = append(dst, name...)
			dst = append(dst, ": "...)
			dst = append(dst, value...)
			dst = append(dst, "\r\n"...)
		}
	}
	return append(dst, "\r\n"...)
}
