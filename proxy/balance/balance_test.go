package balance_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/culvert-mesh/culvert/proxy/balance"
)

func none(int) bool { return false }

func total(weights []uint32) (sum uint64) {
	for _, w := range weights {
		sum += uint64(w)
	}
	return sum
}

// In every prefix of a whole turn, each candidate is less than one request
// from its share: the definition of smooth.
func TestRoundRobinIsSmooth(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	cases := [][]uint32{{1}, {1, 1, 1}, {5, 1, 1}, {1, 2, 3, 4}, {100, 1}, {7, 7, 7}, {10, 20, 30}, {999, 1, 1}}
	for range 50 {
		w := make([]uint32, 1+random.IntN(12))
		for i := range w {
			w[i] = 1 + random.Uint32N(60)
		}
		cases = append(cases, w)
	}
	hundred := []uint32{100}
	for range 100 {
		hundred = append(hundred, 1)
	}
	for _, weights := range append(cases, hundred) {
		s, sum := balance.New(weights, true), total(weights)
		cursor := balance.Cursor(0)
		got := make([]int, len(weights))
		for turn := 1; turn <= 2*int(sum); turn++ {
			got[s.RoundRobin(&cursor, none, random.Uint64)]++
			for i, n := range got {
				ideal := float64(turn) * float64(weights[i]) / float64(sum)
				if math.Abs(float64(n)-ideal) >= 1 {
					t.Fatalf("%v after %d: candidate %d has %d, ideal %.2f", weights, turn, i, n, ideal)
				}
			}
		}
	}
}

func TestRoundRobinOrderOfTheUsualExample(t *testing.T) {
	s := balance.New([]uint32{5, 1, 1}, true)
	var order string
	cursor := balance.Cursor(0)
	for range 7 {
		order += fmt.Sprint(s.RoundRobin(&cursor, none, nil))
	}
	for _, burst := range []string{"0000", "12", "21"} {
		for i := range len(order) - len(burst) + 1 {
			if order[i:i+len(burst)] == burst && burst == "0000" {
				t.Fatalf("%s: a burst", order)
			}
		}
	}
}

// Weights beyond the schedule are rounded, and nobody is left out.
func TestExtremeWeights(t *testing.T) {
	for _, weights := range [][]uint32{
		{1, 1_000_000}, {math.MaxUint32 / 2, 1, 1}, {1_000_003, 999_983, 7},
	} {
		s, sum := balance.New(weights, true), total(weights)
		cursor := balance.Cursor(0)
		got := make([]int, len(weights))
		const turns = 1 << 16
		for range turns {
			got[s.RoundRobin(&cursor, none, nil)]++
		}
		for i, n := range got {
			off := math.Abs(float64(n)/turns - float64(weights[i])/float64(sum))
			if n == 0 || off > 1.0/512 {
				t.Errorf("%v: candidate %d got %d of %d", weights, i, n, turns)
			}
		}
	}
}

// What is excluded gets nothing, and its share goes to the others by weight,
// not to its neighbour.
func TestExcludedShareIsSpread(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	for _, weights := range [][]uint32{
		{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {3, 1, 4, 1, 5, 9, 2, 6},
	} {
		for _, out := range []int{1, 3, len(weights) - 2} {
			s := balance.New(weights, true)
			excluded := func(i int) bool { return i < out }
			left := total(weights[out:])
			for name, pick := range map[string]func() int{
				"round robin": cursorOf(s, excluded, random),
				"random":      func() int { return s.Random(excluded, random.Uint64) },
			} {
				const turns = 40_000
				got := make([]int, len(weights))
				for range turns {
					got[pick()]++
				}
				for i, n := range got {
					want := 0.0
					if i >= out {
						want = turns * float64(weights[i]) / float64(left)
					}
					if math.Abs(float64(n)-want) > 5*math.Sqrt(want)+1 {
						t.Errorf("%s of %v without %d: candidate %d got %d, want %.0f", name, weights, out, i, n, want)
					}
				}
			}
		}
	}
}

func cursorOf(s *balance.Set, excluded func(int) bool, random *rand.Rand) func() int {
	cursor := balance.Cursor(random.Uint32())
	return func() int { return s.RoundRobin(&cursor, excluded, random.Uint64) }
}

func TestNothingToChoose(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	all := func(int) bool { return true }
	for _, weights := range [][]uint32{nil, {1}, {1, 2, 3}} {
		s := balance.New(weights, true)
		cursor := balance.Cursor(math.MaxUint32)
		if i := s.RoundRobin(&cursor, all, random.Uint64); i != -1 {
			t.Errorf("%v: round robin gave %d", weights, i)
		}
		if i := s.Random(all, random.Uint64); i != -1 {
			t.Errorf("%v: random gave %d", weights, i)
		}
	}
}

func TestTheOnlyOneLeftIsFound(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	s := balance.New(make100(), true)
	cursor := balance.Cursor(0)
	for range 500 {
		only := random.IntN(100)
		excluded := func(i int) bool { return i != only }
		if i := s.RoundRobin(&cursor, excluded, random.Uint64); i != only {
			t.Fatalf("%d, not %d", i, only)
		}
	}
}

func make100() []uint32 {
	weights := make([]uint32, 100)
	for i := range weights {
		weights[i] = uint32(i%3 + 1)
	}
	return weights
}

func BenchmarkRoundRobin(b *testing.B) {
	for _, n := range []int{3, 1000} {
		for _, kind := range []string{"equal", "weighted"} {
			weights := make([]uint32, n)
			for i := range weights {
				weights[i] = 1
				if kind == "weighted" {
					weights[i] = uint32(i%3 + 1)
				}
			}
			s := balance.New(weights, true)
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				cursor := balance.Cursor(0)
				for b.Loop() {
					s.RoundRobin(&cursor, none, rand.Uint64)
				}
			})
			b.Run(fmt.Sprintf("random/%s/%d", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s.Random(none, rand.Uint64)
				}
			})
		}
	}
}
