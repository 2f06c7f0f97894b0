package l7

import "github.com/culvert-mesh/culvert/proxy/http1"

// copyLimit is up to what size a piece of a body is copied behind its head: one
// short copy is cheaper than a second vector in the kernel.
const copyLimit = 2 << 10

// framer puts pieces of a body into a framing, without copying them: the piece,
// with a chunk's line before it and what ends it behind.
type framer struct {
	vectors [4][]byte
	line    [http1.MaxChunkHead]byte
	tail    []byte // kept from piece to piece for its memory
}

// piece is one span of a body on its way.
type piece struct {
	head     []byte // of the message, for the first piece
	data     []byte
	framing  http1.FramingKind
	last     bool // the body ends behind it
	trailers *http1.Head
}

// append returns p's bytes behind dst, for small pieces.
func (f *framer) append(dst []byte, p *piece) []byte {
	chunked := p.framing == http1.Chunked
	if chunked && len(p.data) > 0 {
		dst = http1.AppendChunkHead(dst, len(p.data))
		dst = append(dst, p.data...)
		dst = append(dst, "\r\n"...)
	} else {
		dst = append(dst, p.data...)
	}
	if chunked && p.last {
		dst = http1.AppendLastChunk(dst, p.trailers)
	}
	return dst
}

// vector returns p for Conn.Writev; valid until the next call.
func (f *framer) vector(p *piece) [][]byte {
	f.vectors = [4][]byte{p.head, nil, p.data, nil}
	if p.framing != http1.Chunked {
		return f.vectors[:]
	}
	f.tail = f.tail[:0]
	if len(p.data) > 0 {
		f.vectors[1] = http1.AppendChunkHead(f.line[:0], len(p.data))
		f.tail = append(f.tail, "\r\n"...)
	}
	if p.last {
		f.tail = http1.AppendLastChunk(f.tail, p.trailers)
	}
	f.vectors[3] = f.tail
	return f.vectors[:]
}
