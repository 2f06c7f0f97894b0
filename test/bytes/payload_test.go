package bytes

import (
	"bufio"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
)

// blockBytes is the size of the random block that payloads are cut from. It is
// prime, so that bytes which move by the size of any buffer become others.
const blockBytes = 1<<20 + 7

// newBlock makes the bytes that all payloads are cut from, so that making them
// costs nothing.
func newBlock() []byte {
	block := make([]byte, blockBytes)
	var seed [32]byte
	_, _ = rand.NewChaCha8(seed).Read(block)
	return block
}

// digest is what one end saw of a payload. Castagnoli's polynomial because
// processors have it: every byte is hashed on both ends.
type digest struct {
	bytes int64
	sum   uint32
}

func (d *digest) add(b []byte) {
	d.sum = crc32.Update(d.sum, crc32.MakeTable(crc32.Castagnoli), b)
	d.bytes += int64(len(b))
}

func (d digest) String() string { return fmt.Sprintf("%d bytes, crc32c %08x", d.bytes, d.sum) }

// payload gives out its bytes in segments of random size.
type payload struct {
	block  []byte
	at     int // in block
	left   int64
	random *rand.Rand
	sent   digest
}

// newPayload is of size bytes; payloads of different ids differ from their first
// byte on.
func newPayload(block []byte, id uint64, size int64) *payload {
	random := rand.New(rand.NewPCG(id, 1))
	return &payload{block: block, at: random.IntN(len(block)), left: size, random: random}
}

// next is the next segment: from one byte to 128 KiB, as many small ones as
// large ones. nil: no more.
func (p *payload) next() []byte {
	if p.left == 0 {
		return nil
	}
	size := 1 + p.random.IntN(1<<p.random.IntN(18))
	size = min(size, int(min(p.left, 1<<20)), len(p.block)-p.at)
	b := p.block[p.at : p.at+size]
	p.at = (p.at + size) % len(p.block)
	p.left -= int64(size)
	p.sent.add(b)
	return b
}

// write sends all of the payload as it is, a segment a write.
func (p *payload) write(to io.Writer) error {
	for b := p.next(); b != nil; b = p.next() {
		if _, err := to.Write(b); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

// writeChunked sends the payload with each segment as a chunk (RFC 9112 7.1).
func (p *payload) writeChunked(to net.Conn) error {
	for b := p.next(); b != nil; b = p.next() {
		chunk := net.Buffers{fmt.Appendf(nil, "%x\r\n", len(b)), b, []byte("\r\n")}
		if _, err := chunk.WriteTo(to); err != nil {
			return fmt.Errorf("send a chunk: %w", err)
		}
	}
	if _, err := io.WriteString(to, "0\r\n\r\n"); err != nil {
		return fmt.Errorf("send the last chunk: %w", err)
	}
	return nil
}

// readAll reads to the end into a digest.
func readAll(from io.Reader) (d digest, err error) {
	buf := make([]byte, 128<<10)
	for {
		n, err := from.Read(buf)
		d.add(buf[:n])
		if err == io.EOF {
			return d, nil
		}
		if err != nil {
			return d, fmt.Errorf("receive after %d bytes: %w", d.bytes, err)
		}
	}
}

// reader is a buffer for heads; bodies mostly go past it.
func reader(c io.Reader) *bufio.Reader { return bufio.NewReaderSize(c, 16<<10) }
