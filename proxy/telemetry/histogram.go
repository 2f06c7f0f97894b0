package telemetry

import (
	"math"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// The native histogram has schema 3: eight buckets an octave, each 9 % wider
// than the one below. A fixed array covers 2^-20 s (1 us) to 2^8 s (256 s); what
// lies outside is counted in the first or the last bucket. A fixed array costs
// 1.8 KB a series and saves the hot path every branch that a sparse one needs.
const (
	schema         = 3
	perOctave      = 1 << schema
	lowestOctave   = -20
	highestOctave  = 8
	lowestBucket   = lowestOctave*perOctave + 1
	nativeBuckets  = (highestOctave - lowestOctave) * perOctave
	classicBuckets = 16
)

// classicBounds are the upper bounds of the classic buckets in seconds; the last
// bucket, without a bound, is not among them.
func classicBounds() [classicBuckets - 1]float64 {
	return [...]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}
}

// classicBucket returns the index of the classic bucket that d falls into.
func classicBucket(d time.Duration) int {
	switch {
	case d <= 100*time.Microsecond:
		return 0
	case d <= 250*time.Microsecond:
		return 1
	case d <= 500*time.Microsecond:
		return 2
	case d <= time.Millisecond:
		return 3
	case d <= 2500*time.Microsecond:
		return 4
	case d <= 5*time.Millisecond:
		return 5
	case d <= 10*time.Millisecond:
		return 6
	case d <= 25*time.Millisecond:
		return 7
	case d <= 50*time.Millisecond:
		return 8
	case d <= 100*time.Millisecond:
		return 9
	case d <= 250*time.Millisecond:
		return 10
	case d <= 500*time.Millisecond:
		return 11
	case d <= time.Second:
		return 12
	case d <= 2500*time.Millisecond:
		return 13
	case d <= 10*time.Second:
		return 14
	}
	return classicBuckets - 1
}

// nativeBucket returns the index into the fixed array for d. Bucket i holds
// (2^((i-1)/8), 2^(i/8)] seconds, as OpenMetrics defines for the schema.
func nativeBucket(d time.Duration) int {
	if d <= 0 {
		return 0
	}
	fraction, exponent := math.Frexp(d.Seconds())
	i := (exponent-1)*perOctave + eighth(fraction) - lowestBucket
	return min(max(i, 0), nativeBuckets-1)
}

// eighth returns the smallest j with fraction <= 2^(j/8-1), for a fraction in
// [1/2, 1). A tree of comparisons, because a table would be a package variable
// or a copy on the stack.
func eighth(fraction float64) int {
	if fraction <= 0.7071067811865476 {
		switch {
		case fraction <= 0.5:
			return 0
		case fraction <= 0.5452538663326288:
			return 1
		case fraction <= 0.5946035575013605:
			return 2
		case fraction <= 0.6484197773255048:
			return 3
		}
		return 4
	}
	switch {
	case fraction <= 0.7711054127039704:
		return 5
	case fraction <= 0.8408964152537145:
		return 6
	case fraction <= 0.9170040432046711:
		return 7
	}
	return 8
}

// histogram counts durations. One loop writes, any goroutine reads; a reader may
// see an observation in one field and not yet in another, which the next
// scrape mends.
type histogram struct {
	sum     atomic.Int64 // ns
	classic [classicBuckets]atomic.Uint64
	native  [nativeBuckets]atomic.Uint64
}

func (h *histogram) observe(d time.Duration) {
	h.sum.Add(int64(d))
	h.classic[classicBucket(d)].Add(1)
	h.native[nativeBucket(d)].Add(1)
}

// totals is the sum of several loops' histograms.
type totals struct {
	sum     int64
	classic [classicBuckets]uint64
	native  [nativeBuckets]uint64
}

func (t *totals) add(h *histogram) {
	t.sum += h.sum.Load()
	for i := range h.classic {
		t.classic[i] += h.classic[i].Load()
	}
	for i := range h.native {
		t.native[i] += h.native[i].Load()
	}
}

// proto returns both forms: protobuf scrapes read the native one, text scrapes
// the classic one.
func (t *totals) proto() *dto.Histogram {
	h := &dto.Histogram{
		SampleSum:     proto.Float64(time.Duration(t.sum).Seconds()),
		Schema:        proto.Int32(schema),
		ZeroThreshold: proto.Float64(0),
		ZeroCount:     proto.Uint64(0),
	}
	var count uint64
	for i, bound := range classicBounds() {
		count += t.classic[i]
		h.Bucket = append(h.Bucket, &dto.Bucket{CumulativeCount: proto.Uint64(count), UpperBound: proto.Float64(bound)})
	}
	count += t.classic[classicBuckets-1]
	h.SampleCount = proto.Uint64(count)
	h.PositiveSpan, h.PositiveDelta = t.spans()
	return h
}

// spans returns the native buckets in the sparse form of the exposition: runs
// of buckets, and the difference of each count to the one before it.
func (t *totals) spans() (spans []*dto.BucketSpan, deltas []int64) {
	next, previous := 0, int64(0) // the bucket index that would go on the last run
	for i, count := range t.native {
		if count == 0 {
			continue
		}
		index := i + lowestBucket
		if len(spans) == 0 || index != next {
			spans = append(spans, &dto.BucketSpan{Offset: proto.Int32(int32(index - next)), Length: proto.Uint32(0)})
		}
		*spans[len(spans)-1].Length++
		deltas = append(deltas, int64(count)-previous)
		next, previous = index+1, int64(count)
	}
	return spans, deltas
}
