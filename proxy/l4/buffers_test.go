package l4

import "testing"

// TestBuffersAreBounded: directions whose receivers take nothing get smaller buffers in the end, and
// each gets one.
func TestBuffersAreBounded(t *testing.T) {
	var b Buffers
	const directions = 1000
	for range 2 {
		total := 0
		var held [][]byte
		for range directions {
			buf := b.take(sizes - 1)
			total += len(buf)
			held = append(held, buf)
		}
		if limit := 12<<20 + directions*smallest; total > limit {
			t.Errorf("%d directions hold %d bytes, more than %d", directions, total, limit)
		}
		for _, buf := range held {
			b.put(buf)
		}
		kept := 0
		for _, class := range b.free {
			for _, buf := range class {
				kept += len(buf)
			}
		}
		if kept > 13<<20 {
			t.Errorf("%d bytes are kept when all is quiet", kept)
		}
	}
}
