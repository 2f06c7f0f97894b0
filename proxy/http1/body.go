package http1

// FramingKind says how the end of a body is known.
type FramingKind uint8

const (
	// None: there is no body.
	None FramingKind = iota
	// Fixed: Length bytes, which may be 0.
	Fixed
	// Chunked: RFC 9112 7.1.
	Chunked
	// UntilClose: all until the peer closes; responses only.
	UntilClose
)

// Framing is how the end of a body is known.
type Framing struct {
	Kind FramingKind
	// Length in bytes; only with Fixed.
	Length int64

	fromUpstream bool // faults are 502, not 400
}

// Body takes a message body out of its framing. The zero value is a body that
// is done; Start it for each message.
type Body struct {
	kind     FramingKind
	state    chunkState
	upstream bool
	done     bool
	fault    fault
	digits   uint8  // of the chunk size so far
	line     uint16 // bytes of the chunk line so far
	left     int64  // of the body (Fixed) or of the chunk

	trailers Head
	section  []byte // the trailer section as it came; allocated when there is one
}

// Start makes b ready for a body with this framing, from the Framing method of
// the message's head; it keeps its memory.
func (b *Body) Start(f Framing) {
	b.kind, b.upstream, b.fault = f.Kind, f.fromUpstream, faultNone
	b.state, b.digits, b.line, b.left = stateSize, 0, 0, 0
	b.done = f.Kind == None || f.Kind == Fixed && f.Length == 0
	if f.Kind == Fixed {
		b.left = f.Length
	}
	b.trailers.reset(ofTrailer)
	b.section = b.section[:0]
}

// Next takes n bytes from the start of buf and gives the body bytes among them
// as one span of buf. Chunks are moved together in place, so the consumed
// part of buf is overwritten: use data, then discard buf[:n]. Bytes after the
// body are left alone (n < len(buf)); before that, all of buf is consumed, so the
// caller need never keep a part of the framing.
// An error comes with the data before it, and is final.
func (b *Body) Next(buf []byte) (data []byte, n int, err error) {
	switch {
	case b.fault != faultNone:
		return nil, 0, b.error(b.fault)
	case b.done:
		return nil, 0, nil
	case b.kind == UntilClose:
		return buf, len(buf), nil
	case b.kind == Fixed:
		n = int(min(b.left, int64(len(buf))))
		b.left -= int64(n)
		b.done = b.left == 0
		return buf[:n], n, nil
	}
	data, n, b.fault = b.dechunk(buf)
	return data, n, b.error(b.fault)
}

func (b *Body) error(f fault) error {
	if b.upstream {
		return f.ofUpstream()
	}
	return f.toClient()
}

// Done: the body is complete, its trailers too.
func (b *Body) Done() bool { return b.done || b.kind == None }

// EOF tells b that the peer closed. Nil: the body is complete (UntilClose, or it
// was done before); an error: it was cut.
func (b *Body) EOF() error {
	switch {
	case b.fault != faultNone:
		return b.error(b.fault)
	case b.kind == UntilClose:
		b.done = true
	case !b.Done():
		b.fault = faultCut // RFC 9112 8: incomplete
		return b.error(b.fault)
	}
	return nil
}

// Remaining is how many body bytes are still to come for Fixed and None, so that
// the caller can size its reads; -1 when unknown.
func (b *Body) Remaining() int64 {
	if b.kind == Fixed || b.kind == None {
		return b.left
	}
	return -1
}

// Trailers are the trailer fields, once Done; they live in b's memory until
// Start. Fields of framing, routing and connections never get here.
func (b *Body) Trailers() *Head { return &b.trailers }
