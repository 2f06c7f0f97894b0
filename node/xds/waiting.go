package xds

import "time"

// waiting notes since when each missing resource was waited for, and which ones
// are not waited for any longer. Owned by Run's goroutine.
type waiting struct {
	since   map[ref]time.Time
	givenUp map[ref]bool
}

func newWaiting() waiting {
	return waiting{since: map[ref]time.Time{}, givenUp: map[ref]bool{}}
}

// update takes what is missing now. What has come since is forgotten, so that it
// is waited for again should it go missing again; what has come and was refused is
// given up at once.
func (w *waiting) update(missing map[ref]string, refused map[ref]bool, now time.Time) {
	for r := range missing {
		if _, ok := w.since[r]; !ok {
			w.since[r] = now
		}
		if refused[r] {
			w.givenUp[r] = true
		}
	}
	for r := range w.since {
		if _, ok := missing[r]; !ok {
			delete(w.since, r)
			delete(w.givenUp, r)
		}
	}
}

// restart counts from now again: nothing could come while there was no stream.
func (w *waiting) restart(now time.Time) {
	for r := range w.since {
		w.since[r] = now
	}
}

// expire gives up what was waited for as long as limit, and returns it.
func (w *waiting) expire(now time.Time, limit time.Duration) []ref {
	var late []ref
	for r, since := range w.since {
		if !w.givenUp[r] && now.Sub(since) >= limit {
			w.givenUp[r] = true
			late = append(late, r)
		}
	}
	return late
}

// next is how long until expire has something to do; false: never.
func (w *waiting) next(now time.Time, limit time.Duration) (time.Duration, bool) {
	var first time.Duration
	found := false
	for r, since := range w.since {
		if left := max(0, limit-now.Sub(since)); !w.givenUp[r] && (!found || left < first) {
			first, found = left, true
		}
	}
	return first, found
}

// settled reports whether nothing is waited for any longer.
func (w *waiting) settled() bool { return len(w.givenUp) == len(w.since) }
