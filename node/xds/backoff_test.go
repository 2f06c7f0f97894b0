package xds

import (
	"testing"
	"time"
)

func TestBackoffGrowsAndStaysInBounds(t *testing.T) {
	b := backoff{base: 100 * time.Millisecond, max: 10 * time.Second}
	for i := range 20 {
		top := min(b.base<<min(i, 10), b.max)
		if d := b.next(); d < top/2 || d > top {
			t.Fatalf("pause %d is %v, want between %v and %v", i, d, top/2, top)
		}
	}
	b.reset()
	if d := b.next(); d > b.base {
		t.Fatalf("pause after a reset is %v, want at most %v", d, b.base)
	}
}
