package telemetry

import "sync/atomic"

// series is a set of values by label, with one writer (a loop) and readers on
// any goroutine: the writer looks up in its own map, the readers walk a linked
// list whose links are atomic. A lock would let a scrape stall a loop.
type series[L comparable, V any] struct {
	byLabel map[L]*entry[L, V] // owned by the loop
	head    atomic.Pointer[entry[L, V]]
}

// entry is one labelled value.
type entry[L comparable, V any] struct {
	labels L
	next   atomic.Pointer[entry[L, V]]
	used   int64 // owned by the loop: its clock at the last use
	value  V     // atomics only
}

// entry returns the value for labels and makes it where there is none. Writer only.
func (s *series[L, V]) entry(labels L) *entry[L, V] {
	if e := s.byLabel[labels]; e != nil {
		return e
	}
	e := &entry[L, V]{labels: labels}
	e.next.Store(s.head.Load())
	if s.byLabel == nil {
		s.byLabel = make(map[L]*entry[L, V])
	}
	s.byLabel[labels] = e
	s.head.Store(e)
	return e
}

// retain drops the entries that were last used before the given time and that
// keep is false for. A reader that walks meanwhile still sees a whole list:
// a dropped entry keeps its own link. Writer only.
func (s *series[L, V]) retain(before int64, keep func(labels L, value *V) bool) {
	link := &s.head
	for e := link.Load(); e != nil; e = link.Load() {
		if e.used >= before || keep(e.labels, &e.value) {
			link = &e.next
			continue
		}
		delete(s.byLabel, e.labels)
		link.Store(e.next.Load())
	}
}

// each calls f for every entry; any goroutine.
func (s *series[L, V]) each(f func(labels L, value *V)) {
	for e := s.head.Load(); e != nil; e = e.next.Load() {
		f(e.labels, &e.value)
	}
}
