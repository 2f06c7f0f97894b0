package l4

// Sizes of buffers. A direction begins small; a read that fills its buffer asks for the next size,
// so that only bulk pays for bulk.
const (
	smallest  = 16 << 10
	sizes     = 3 // 16, 64 and 256 KiB
	sizeShift = 2
	idleBytes = 1 << 20 // of each size, kept for reuse
)

// Buffers is the store of one loop: all pipes of the loop share it. The zero value is ready.
type Buffers struct {
	free [sizes][][]byte
}

// take returns a buffer of a size class.
func (b *Buffers) take(class int) []byte {
	if n := len(b.free[class]); n > 0 {
		buf := b.free[class][n-1]
		b.free[class] = b.free[class][:n-1]
		return buf
	}
	return make([]byte, smallest<<(sizeShift*class))
}

// put gives a buffer back; what is too many goes to the garbage collector.
func (b *Buffers) put(class int, buf []byte) {
	if (len(b.free[class])+1)*len(buf) <= idleBytes {
		b.free[class] = append(b.free[class], buf)
	}
}
