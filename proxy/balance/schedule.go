package balance

import "container/heap"

// slots turns weights into whole numbers of slots: divided by their common
// divisor, and scaled down when that is still too many.
func slots(weights []uint32, sum uint64) []uint64 {
	divisor := uint64(weights[0])
	for _, w := range weights {
		divisor = gcd(divisor, uint64(w))
	}
	limit := uint64(max(maxSchedule, 4*len(weights)))
	out := make([]uint64, len(weights))
	for i, w := range weights {
		out[i] = uint64(w) / divisor
		if sum/divisor > limit {
			out[i] = max(1, (uint64(w)*limit+sum/2)/sum)
		}
	}
	return out
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// smooth lays the slots out evenly. Slot k of a candidate with share s of L is
// released at floor(kL/s) and due at ceil((k+1)L/s); of those released the one
// due first is next. That is earliest-deadline-first on windows that fill the
// time exactly, which always succeeds (proportionate fairness, Baruah et al.
// 1996): in every prefix each candidate is less than one slot from its share.
func smooth(share []uint64) []uint32 {
	var length uint64
	waiting := windows{byRelease: true}
	for i, s := range share {
		length += s
		waiting.list = append(waiting.list, window{candidate: uint32(i)})
	}
	for i := range waiting.list {
		waiting.list[i].set(share[waiting.list[i].candidate], length)
	}
	heap.Init(&waiting)
	var ready windows
	out := make([]uint32, length)
	for at := range out {
		for len(waiting.list) > 0 && waiting.list[0].release <= uint64(at) {
			heap.Push(&ready, heap.Pop(&waiting))
		}
		w := heap.Pop(&ready).(window)
		out[at] = w.candidate
		w.slot++
		if s := share[w.candidate]; w.slot < s {
			w.set(s, length)
			heap.Push(&waiting, w)
		}
	}
	return out
}

// window is the time in which one slot of one candidate must be placed.
type window struct {
	release, due, slot uint64
	candidate          uint32
}

func (w *window) set(share, length uint64) {
	w.release = w.slot * length / share
	w.due = ((w.slot+1)*length + share - 1) / share
}

// windows is a heap, by release or else by due time; ties go to the lower
// candidate so that the order is the same every time.
type windows struct {
	list      []window
	byRelease bool
}

func (h *windows) Len() int { return len(h.list) }

func (h *windows) Less(i, j int) bool {
	a, b := &h.list[i], &h.list[j]
	x, y := a.due, b.due
	if h.byRelease {
		x, y = a.release, b.release
	}
	return x < y || x == y && a.candidate < b.candidate
}

func (h *windows) Swap(i, j int) { h.list[i], h.list[j] = h.list[j], h.list[i] }

func (h *windows) Push(w any) { h.list = append(h.list, w.(window)) }

func (h *windows) Pop() any {
	last := len(h.list) - 1
	w := h.list[last]
	h.list = h.list[:last]
	return w
}
