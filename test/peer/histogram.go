package peer

import (
	"math/bits"
	"time"
)

// Histogram counts durations in log-linear buckets: 32 to each doubling, so a
// quantile is off by at most 3 %. Not for several goroutines: merge.
type Histogram struct {
	counts [64 * 32]int64
	total  int64
	max    time.Duration
}

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 32 {
		return int(v)
	}
	shift := bits.Len64(v) - 6
	return (shift+1)*32 + int(v>>shift) - 32
}

// upper is the largest duration of a bucket.
func upper(bucket int) time.Duration {
	if bucket < 32 {
		return time.Duration(bucket)
	}
	shift := bucket/32 - 1
	return time.Duration((uint64(bucket%32)+33)<<shift - 1)
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.total++
	h.max = max(h.max, d)
}

// Merge adds another histogram's counts.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// Count is how many durations were added.
func (h *Histogram) Count() int64 { return h.total }

// Max is the longest one.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile is the duration that the share q (0..1) of all did not exceed; 0
// when there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := int64(q * float64(h.total))
	var seen int64
	for i, n := range h.counts {
		seen += n
		if n > 0 && seen > want {
			return min(upper(i), h.max)
		}
	}
	return h.max
}
