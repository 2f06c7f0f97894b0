package telemetry

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// TestHistogramMatchesClientGolang compares with the reference implementation:
// same schema, same classic buckets, every observation in the same place.
func TestHistogramMatchesClientGolang(t *testing.T) {
	bounds := classicBounds()
	model := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "model", Help: "model", Buckets: bounds[:],
		NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: prometheus.NativeHistogramZeroThresholdZero,
	})
	var own histogram
	observe := func(d time.Duration) {
		model.Observe(d.Seconds())
		own.observe(d)
	}
	for _, bound := range bounds {
		d := time.Duration(bound * float64(time.Second))
		observe(d - 1)
		observe(d)
		observe(d + 1)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		observe(time.Duration(1000 << random.UintN(27) * (1000 + random.Int64N(1000)) / 1000))
	}
	var want dto.Metric
	if err := model.Write(&want); err != nil {
		t.Fatal(err)
	}
	var sums totals
	sums.add(&own)
	got := sums.proto()
	if got.GetSampleCount() != want.Histogram.GetSampleCount() {
		t.Errorf("count %d, want %d", got.GetSampleCount(), want.Histogram.GetSampleCount())
	}
	if diff := got.GetSampleSum() - want.Histogram.GetSampleSum(); diff > 1e-3 || diff < -1e-3 {
		t.Errorf("sum is off by %v s", diff)
	}
	for i, b := range want.Histogram.Bucket {
		if !proto.Equal(b, got.Bucket[i]) {
			t.Errorf("classic bucket %d: %v, want %v", i, got.Bucket[i], b)
		}
	}
	if g, w := expand(got), expand(want.Histogram); len(g) != len(w) {
		t.Errorf("%d native buckets, want %d", len(g), len(w))
	} else {
		for index, n := range w {
			if g[index] != n {
				t.Errorf("native bucket %d: %d, want %d", index, g[index], n)
			}
		}
	}
}

// expand undoes the sparse form.
func expand(h *dto.Histogram) map[int32]int64 {
	counts := map[int32]int64{}
	var index int32
	var value int64
	deltas := h.PositiveDelta
	for _, span := range h.PositiveSpan {
		index += span.GetOffset()
		for range span.GetLength() {
			value += deltas[0]
			deltas = deltas[1:]
			if value != 0 {
				counts[index] = value
			}
			index++
		}
	}
	return counts
}

func TestNativeBucketClamps(t *testing.T) {
	for d, want := range map[time.Duration]int{
		-1: 0, 0: 0, 1: 0, 900: 0, time.Hour: nativeBuckets - 1, 256 * time.Second: nativeBuckets - 1,
	} {
		if got := nativeBucket(d); got != want {
			t.Errorf("nativeBucket(%v) = %d, want %d", d, got, want)
		}
	}
}
