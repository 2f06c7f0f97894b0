// Package balance owns the choice of one candidate among several by weight: a
// smooth round robin and a weighted random draw. It must not know endpoints:
// candidates are numbers from 0, chance is handed in, and what may not be
// chosen is a function of the caller's.
//
// A Set is immutable, made off the loops when candidates change, and shared.
// The place in a round robin is a Cursor, and each loop has its own: a shared
// one would be a cache line that every request of every core writes. Each loop
// starts at a random place, so the whole is as even as its parts: within one
// request per loop and endpoint of the ideal at any time.
package balance

import (
	"math/bits"
	"slices"
	"sort"
)

// maxSchedule bounds the slots of a round robin with unequal weights: this, or
// 4 per candidate. Weights are rounded to fit, each candidate keeping at least
// one slot. Equal weights, the rule in Kubernetes, need no schedule at all.
const maxSchedule = 1024

// draws is how many times a random substitute is drawn for a candidate that is
// excluded before all candidates are looked at.
const draws = 4

// Set is weighted candidates 0 to Len()-1.
type Set struct {
	n int
	// below[i] is the sum of the weights 0 to i; nil when all are equal.
	below []uint64
	// schedule is the round robin's order of slots; nil when all are equal.
	schedule []uint32
}

// Cursor is a place in a round robin. Any value is a valid start.
type Cursor uint32

// New makes a set. Weights must be at least 1. roundRobin says that RoundRobin
// will be called; without it no schedule is made.
func New(weights []uint32, roundRobin bool) *Set {
	s := &Set{n: len(weights)}
	if len(weights) == 0 || slices.Min(weights) == slices.Max(weights) {
		return s
	}
	s.below = make([]uint64, len(weights))
	var sum uint64
	for i, w := range weights {
		sum += uint64(w)
		s.below[i] = sum
	}
	if roundRobin {
		s.schedule = smooth(slots(weights, sum))
	}
	return s
}

// Len returns the number of candidates.
func (s *Set) Len() int { return s.n }

// RoundRobin returns the next candidate in turn that is not excluded, or -1. A
// turn that falls to an excluded candidate is given to a random other one, not
// to the next in order, which would bear a double share.
func (s *Set) RoundRobin(c *Cursor, excluded func(int) bool, random func() uint64) int {
	if s.n == 0 {
		return -1
	}
	length := uint32(s.n)
	if s.schedule != nil {
		length = uint32(len(s.schedule))
	}
	at := uint32(*c)
	if at >= length {
		at %= length // a fresh cursor, or one from before a change
	}
	*c = Cursor(at + 1)
	i := int(at)
	if s.schedule != nil {
		i = int(s.schedule[at])
	}
	if !excluded(i) {
		return i
	}
	return s.Random(excluded, random)
}

// Random draws a candidate that is not excluded, by weight, or returns -1. It
// looks at all of them only when several draws met excluded ones.
func (s *Set) Random(excluded func(int) bool, random func() uint64) int {
	if s.n == 0 {
		return -1
	}
	for range draws {
		if i := s.draw(random()); !excluded(i) {
			return i
		}
	}
	var left uint64
	for i := range s.n {
		if !excluded(i) {
			left += s.weight(i)
		}
	}
	if left == 0 {
		return -1
	}
	at, _ := bits.Mul64(random(), left)
	for i := range s.n {
		if excluded(i) {
			continue
		}
		if w := s.weight(i); at >= w {
			at -= w
			continue
		}
		return i
	}
	return -1 // excluded said something else the second time
}

func (s *Set) draw(random uint64) int {
	if s.below == nil {
		i, _ := bits.Mul64(random, uint64(s.n))
		return int(i)
	}
	at, _ := bits.Mul64(random, s.below[s.n-1])
	return sort.Search(s.n, func(i int) bool { return s.below[i] > at })
}

func (s *Set) weight(i int) uint64 {
	switch {
	case s.below == nil:
		return 1
	case i == 0:
		return s.below[0]
	}
	return s.below[i] - s.below[i-1]
}
