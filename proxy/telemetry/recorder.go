package telemetry

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// retention is how long a series stays after its last use once its service or
// its workload is gone: long enough for several scrapes to see its last value.
const retention = 10 * time.Minute

// Recorder counts what one loop does. All methods are for that loop's goroutine
// and coroutines; the loop is the only writer, so that counting costs no shared
// cache line. Nothing is allocated once a series exists.
type Recorder struct {
	// set at construction
	lines *lines

	// owned by the loop; read by Registry.Collect through the atomic heads
	requests  series[requestLabels, requestCounters]
	durations series[durationLabels, histogram]
	backends  series[backendLabels, backendCounters]
	flows     series[flowLabels, Flow]
	unknown   [reasonCount]atomic.Uint64 // connections that no service is known for

	// owned by the loop
	recent   [64]resolved        // direct-mapped by resolvedKey.slot
	attempts [16]resolvedBackend // direct-mapped by the backend's index
}

// requestLabels name one requests_total series.
type requestLabels struct {
	service, source, route, backend string
	status                          int
	reason                          Reason
}

// requestCounters is what one requests_total series counts.
type requestCounters struct{ count atomic.Uint64 }

// durationLabels name one duration histogram.
type durationLabels struct{ service, route string }

// backendLabels name the attempts of one service at one backend.
type backendLabels struct{ service, backend string }

// backendCounters is what is counted of attempts.
type backendCounters struct {
	outcomes [outcomeCount]atomic.Uint64
	retries  [reasonCount]atomic.Uint64
	refusals [reasonCount]atomic.Uint64
	reused   atomic.Uint64
}

// resolvedKey is what decides all of a request's series, by identity, so that
// no string is hashed or built for a request like an earlier one.
type resolvedKey struct {
	service *table.Service
	source  *Source
	rule    *table.Rule
	backend *table.Backend
	status  int
	reason  Reason
}

// resolved is the outcome of looking a key up.
type resolved struct {
	key      resolvedKey
	requests *entry[requestLabels, requestCounters]
	duration *entry[durationLabels, histogram]
}

// resolvedBackend is a backend's entry looked up by identity.
type resolvedBackend struct {
	service *table.Service
	backend *table.Backend
	entry   *entry[backendLabels, backendCounters]
}

func (k *resolvedKey) slot() int {
	h := uint(k.service.Index)*31 + uint(k.status)*7 + uint(k.source.ID)*13 + uint(k.reason)
	if k.backend != nil {
		h += uint(k.backend.Index) * 17
	}
	return int(h % 64)
}

// RequestBegan counts a request as live. Once per request, before RequestEnded.
func (r *Recorder) RequestBegan(rep *Report) {
	rep.Conn.Flow().live.Add(1)
}

// RequestEnded counts a finished request and queues the access line where debug
// logging is on. Exactly once per request.
func (r *Recorder) RequestEnded(rep *Report) {
	f := rep.Conn.Flow()
	f.live.Add(-1)
	f.bytesIn.Add(uint64(rep.BytesIn))
	f.bytesOut.Add(uint64(rep.BytesOut))
	rep.Conn.Requests++
	rep.Conn.BytesIn += rep.BytesIn
	rep.Conn.BytesOut += rep.BytesOut

	s := r.resolve(rep)
	s.requests.value.count.Add(1)
	s.duration.value.observe(time.Duration(rep.End - rep.Start))
	s.requests.used, s.duration.used = rep.End, rep.End

	if r.lines.enabled(slog.LevelDebug) {
		r.logRequest(rep)
	}
}

func (r *Recorder) resolve(rep *Report) *resolved {
	key := resolvedKey{
		service: rep.Service, source: rep.Conn.Source, rule: rep.Rule,
		backend: rep.Backend, status: rep.Status, reason: rep.Reason,
	}
	s := &r.recent[key.slot()]
	if s.key == key {
		return s
	}
	labels := requestLabels{service: key.service.Name, source: key.source.Label, status: key.status, reason: key.reason}
	if key.rule != nil {
		labels.route = key.rule.Name
	}
	if key.backend != nil {
		labels.backend = key.backend.Name
	}
	s.key = key
	s.requests = r.requests.entry(labels)
	s.duration = r.durations.entry(durationLabels{labels.service, labels.route})
	return s
}

// AttemptEnded counts one finished try. Exactly once per attempt.
func (r *Recorder) AttemptEnded(a *Attempt) {
	s := &r.attempts[a.Backend.Index%len(r.attempts)]
	if s.service != a.Service || s.backend != a.Backend {
		*s = resolvedBackend{a.Service, a.Backend, r.backends.entry(backendLabels{a.Service.Name, a.Backend.Name})}
	}
	e := s.entry
	e.used = a.End
	e.value.outcomes[a.Outcome].Add(1)
	if a.Reused {
		e.value.reused.Add(1)
	}
	if a.Retry != None {
		e.value.retries[a.Retry].Add(1)
	}
	if a.Refusal != None {
		e.value.refusals[a.Refusal].Add(1)
	}
}

// ConnUndecided counts a connection as open while its protocol is not known; before
// ConnOpened, or in its place.
func (r *Recorder) ConnUndecided(c *ConnReport) {
	if !c.undecided {
		c.undecided = true
		c.flow = r.flows.entry(flowLabels{c.Service.Name, c.Source.Label})
		c.flow.value.undecided.Add(1)
	}
}

// ConnOpened counts a connection as open, and is where its byte counters are
// looked up. Once per connection, when its service and protocol are known, before
// ConnEnded.
func (r *Recorder) ConnOpened(c *ConnReport) {
	if c.undecided {
		c.undecided = false
		c.flow.value.undecided.Add(-1)
	}
	c.flow = r.flows.entry(flowLabels{c.Service.Name, c.Source.Label})
	c.flow.value.opened(c.HTTP)
}

// ConnEnded counts a connection as closed and queues its line where debug
// logging is on. Exactly once per connection, with or without ConnOpened.
func (r *Recorder) ConnEnded(c *ConnReport) {
	switch {
	case c.flow != nil:
		c.flow.value.closed(c)
		c.flow.used = c.End
	case c.Service != nil:
		r.flows.entry(flowLabels{c.Service.Name, c.Source.Label}).value.failures[c.Reason].Add(1)
	default:
		r.unknown[c.Reason].Add(1)
	}
	if r.lines.enabled(slog.LevelDebug) {
		r.logConn(c)
	}
}

// Retain forgets what belongs to earlier snapshots: pointers at once, series
// when keep is false for their service and source and they have not been used
// for ten minutes before now (the loop clock's nanoseconds). source is "" for
// series that have none. The server calls it on every loop after each
// publication.
func (r *Recorder) Retain(now int64, keep func(service, source string) bool) {
	r.recent = [len(r.recent)]resolved{}
	r.attempts = [len(r.attempts)]resolvedBackend{}
	before := now - int64(retention)
	r.requests.retain(before, func(l requestLabels, _ *requestCounters) bool { return keep(l.service, l.source) })
	r.durations.retain(before, func(l durationLabels, _ *histogram) bool { return keep(l.service, "") })
	r.backends.retain(before, func(l backendLabels, _ *backendCounters) bool { return keep(l.service, "") })
	r.flows.retain(before, func(l flowLabels, f *Flow) bool { return f.busy() || keep(l.service, l.source) })
}
