package l4

// Sizes of buffers. A direction begins small; a read that fills its buffer asks for the next size,
// so that only bulk pays for bulk.
const (
	smallest  = 16 << 10
	sizes     = 3 // 16, 64 and 256 KiB
	sizeShift = 2
	idleBytes = 1 << 20 // of the smallest, kept for reuse
)

// most is how many buffers of a size there may be on one loop: 4 MiB of 64 KiB and 8 MiB of
// 256 KiB. A direction holds its buffer for as long as its receiver takes nothing, so without a
// bound a thousand slow receivers of bulk would cost a quarter of a gigabyte. 0: no bound; a
// direction must be able to move.
func most(class int) int { return [sizes]int{0, 64, 32}[class] }

// Buffers is the store of one loop: all pipes of the loop share it. The zero value is ready.
type Buffers struct {
	free [sizes][][]byte
	made [sizes]int // those that exist, in use or not
}

// take returns a buffer of a size class, or of a smaller one when there are enough of that.
func (b *Buffers) take(class int) []byte {
	for ; ; class-- {
		if n := len(b.free[class]); n > 0 {
			buf := b.free[class][n-1]
			b.free[class] = b.free[class][:n-1]
			return buf
		}
		if most(class) == 0 || b.made[class] < most(class) {
			b.made[class]++
			return make([]byte, sizeOf(class))
		}
	}
}

// put gives a buffer back. The larger ones stay, because making them anew under load would leave
// more to the garbage collector than they hold; of the smallest, what is too many goes.
func (b *Buffers) put(buf []byte) {
	class := 0
	for sizeOf(class) < len(buf) {
		class++
	}
	if most(class) == 0 && (len(b.free[class])+1)*len(buf) > idleBytes {
		b.made[class]--
		return
	}
	b.free[class] = append(b.free[class], buf)
}

func sizeOf(class int) int { return smallest << (sizeShift * class) }
