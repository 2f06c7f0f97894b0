package http1

import (
	"encoding/binary"
	"math/bits"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// valueEnd is the index of the first byte of b, from i on, that may not stand in a
// field value, mostly the CR at its end; len(b) if there is none. Eight bytes
// at a time: values are most of a head.
func valueEnd(b []byte, i int) int {
	for i+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[i:])
		// The high bit of every byte that is below 0x20 or is 0x7f. A borrow can set
		// a bit above a true one, never below, so the lowest is exact.
		del := w ^ (ones * 0x7f)
		hit := ((w-ones*0x20)&^w | (del-ones)&^del) & highs
		if hit == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(hit) / 8
		if b[i] != '\t' {
			return i
		}
		i++
	}
	return runEnd(b, i, isValue)
}

// queryEnd is valueEnd for the bytes of a target after its "?": it stops at all but
// visible ASCII, and at "#".
func queryEnd(b []byte, i int) int {
	for i+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[i:])
		hash := w ^ (ones * '#')
		del := w ^ (ones * 0x7f)
		hit := ((w-ones*0x21)&^w | (hash-ones)&^hash | (del-ones)&^del | w) & highs
		if hit == 0 {
			i += 8
			continue
		}
		return i + bits.TrailingZeros64(hit)/8
	}
	return runEnd(b, i, isQuery)
}

// runEnd is the index of the first byte of b, from i on, that is not of the class.
func runEnd(b []byte, i int, class uint8) int {
	for i < len(b) && classes[b[i]]&class != 0 {
		i++
	}
	return i
}
