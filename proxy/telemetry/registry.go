package telemetry

import (
	"context"
	"log/slog"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// Registry holds the recorders of all loops and is the prometheus.Collector
// that merges them. Collect may run on any goroutine, at the same time as the
// loops count.
type Registry struct {
	recorders []*Recorder
	lines     *lines
	descs     descs
}

// descs are the metrics' names, helps and labels.
type descs struct {
	requests, duration, concurrent, attempts, reused      *prometheus.Desc
	retries, refusals                                     *prometheus.Desc
	connOpen, connTotal, connFailures, connDetours, bytes *prometheus.Desc
	linesDropped                                          *prometheus.Desc
}

// NewRegistry makes one recorder for each of loops loops. log gets the access
// lines at debug, from the goroutine in Run; nil discards them.
func NewRegistry(loops int, log *slog.Logger) *Registry {
	r := &Registry{lines: newLines(log), descs: newDescs()}
	for range loops {
		r.recorders = append(r.recorders, &Recorder{lines: r.lines})
	}
	return r
}

// Run writes the lines that loops have queued, until ctx is done. Lines that come
// while 1024 wait are dropped and counted.
func (r *Registry) Run(ctx context.Context) error {
	r.lines.run(ctx)
	return nil
}

// Note queues a line for the log; any goroutine, and it does not wait. For what
// loops have to say.
func (r *Registry) Note(level slog.Level, message string, attrs ...slog.Attr) {
	if r.lines.enabled(level) {
		r.lines.put(level, message, attrs...)
	}
}

// Recorder returns the recorder of loop i, from 0.
func (r *Registry) Recorder(i int) *Recorder { return r.recorders[i] }

// Len returns how many loops there are recorders for.
func (r *Registry) Len() int { return len(r.recorders) }

func newDescs() descs {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return descs{
		requests: desc("proxy_requests_total",
			"Requests that were finished. status is the one sent to the client, 0 where none was.",
			"service", "source", "route", "backend", "status", "reason"),
		duration: desc("proxy_request_duration_seconds",
			"Time from a request's first byte to its response's last.", "service", "route"),
		concurrent: desc("proxy_concurrent_requests",
			"Requests that are live.", "service"),
		attempts: desc("proxy_attempts_total",
			"Tries at endpoints, by how they ended.", "service", "backend", "outcome"),
		reused: desc("proxy_attempts_reused_total",
			"Tries that went over a connection from the pool.", "service", "backend"),
		retries: desc("proxy_retries_total",
			"Requests that were tried again, by why.", "service", "backend", "reason"),
		refusals: desc("proxy_retries_refused_total",
			"Failed tries that were not followed by another though the policy asks for it, by why.",
			"service", "backend", "reason"),
		connOpen: desc("proxy_connections_open",
			"Connections of clients that are open; the protocol is undecided while nobody has spoken.",
			"service", "source", "protocol"),
		connTotal: desc("proxy_connections_total",
			"Connections of clients that were opened.", "service", "source", "protocol"),
		connFailures: desc("proxy_connection_failures_total",
			"Connections of clients that did not end the ordinary way; service is empty where the origin is unknown.",
			"service", "source", "reason"),
		connDetours: desc("proxy_connection_detours_total",
			"Connections of clients that went on another way than their service's: detect_timeout stopped within bytes that could have become HTTP, and went on as TCP.",
			"service", "source", "reason"),
		linesDropped: desc("proxy_log_lines_dropped_total",
			"Lines about traffic that were not logged because the log was too slow."),
		bytes: desc("proxy_bytes_total",
			"Bytes from (in) and to (out) clients: live for TCP, by request for HTTP.",
			"service", "source", "direction"),
	}
}

// Describe is prometheus.Collector's.
func (r *Registry) Describe(ch chan<- *prometheus.Desc) {
	d := r.descs
	for _, desc := range []*prometheus.Desc{
		d.requests, d.duration, d.concurrent, d.attempts, d.reused, d.retries, d.refusals,
		d.connOpen, d.connTotal, d.connFailures, d.connDetours, d.bytes, d.linesDropped,
	} {
		ch <- desc
	}
}

// Collect is prometheus.Collector's.
func (r *Registry) Collect(ch chan<- prometheus.Metric) {
	r.collectRequests(ch)
	r.collectDurations(ch)
	r.collectBackends(ch)
	r.collectFlows(ch)
	r.collectUnknown(ch)
	counter(ch, r.descs.linesDropped, r.lines.dropped.Load())
}

func (r *Registry) collectRequests(ch chan<- prometheus.Metric) {
	merged := map[requestLabels]uint64{}
	for _, rec := range r.recorders {
		rec.requests.each(func(l requestLabels, c *requestCounters) { merged[l] += c.count.Load() })
	}
	for l, n := range merged {
		counter(ch, r.descs.requests, n, l.service, l.source, l.route, l.backend, strconv.Itoa(l.status), l.reason.String())
	}
}

func (r *Registry) collectDurations(ch chan<- prometheus.Metric) {
	merged := map[durationLabels]*totals{}
	for _, rec := range r.recorders {
		rec.durations.each(func(l durationLabels, h *histogram) {
			t := merged[l]
			if t == nil {
				t = &totals{}
				merged[l] = t
			}
			t.add(h)
		})
	}
	for l, t := range merged {
		ch <- &histogramMetric{r.descs.duration, l, t}
	}
}

func (r *Registry) collectBackends(ch chan<- prometheus.Metric) {
	merged := map[backendLabels]*backendSums{}
	for _, rec := range r.recorders {
		rec.backends.each(func(l backendLabels, c *backendCounters) {
			s := merged[l]
			if s == nil {
				s = &backendSums{}
				merged[l] = s
			}
			s.add(c)
		})
	}
	for l, s := range merged {
		for i, n := range s.outcomes {
			counter(ch, r.descs.attempts, n, l.service, l.backend, Outcome(i).String())
		}
		for i := range reasonCount {
			if n := s.retries[i]; n != 0 {
				counter(ch, r.descs.retries, n, l.service, l.backend, i.String())
			}
			if n := s.refusals[i]; n != 0 {
				counter(ch, r.descs.refusals, n, l.service, l.backend, i.String())
			}
		}
		counter(ch, r.descs.reused, s.reused, l.service, l.backend)
	}
}

// backendSums is what is counted of attempts, summed over the loops.
type backendSums struct {
	outcomes          [outcomeCount]uint64
	retries, refusals [reasonCount]uint64
	reused            uint64
}

func (s *backendSums) add(c *backendCounters) {
	for i := range c.outcomes {
		s.outcomes[i] += c.outcomes[i].Load()
	}
	for i := range c.retries {
		s.retries[i] += c.retries[i].Load()
		s.refusals[i] += c.refusals[i].Load()
	}
	s.reused += c.reused.Load()
}

func (r *Registry) collectFlows(ch chan<- prometheus.Metric) {
	merged := map[flowLabels]*flowSums{}
	live := map[string]int64{}
	for _, rec := range r.recorders {
		rec.flows.each(func(l flowLabels, f *Flow) {
			s := merged[l]
			if s == nil {
				s = &flowSums{}
				merged[l] = s
			}
			s.add(f)
			live[l.service] += f.live.Load()
		})
	}
	for service, n := range live {
		gauge(ch, r.descs.concurrent, n, service)
	}
	for l, s := range merged {
		gauge(ch, r.descs.connOpen, s.open[0], l.service, l.source, "http1")
		gauge(ch, r.descs.connOpen, s.open[1], l.service, l.source, "tcp")
		gauge(ch, r.descs.connOpen, s.undecided, l.service, l.source, "undecided")
		counter(ch, r.descs.connTotal, s.total[0], l.service, l.source, "http1")
		counter(ch, r.descs.connTotal, s.total[1], l.service, l.source, "tcp")
		counter(ch, r.descs.bytes, s.in, l.service, l.source, "in")
		counter(ch, r.descs.bytes, s.out, l.service, l.source, "out")
		for i, n := range s.failures {
			if n != 0 {
				counter(ch, r.descs.connFailures, n, l.service, l.source, Reason(i).String())
			}
		}
		for i, n := range s.detours {
			if n != 0 {
				counter(ch, r.descs.connDetours, n, l.service, l.source, Reason(i).String())
			}
		}
	}
}

// flowSums is one flow summed over the loops.
type flowSums struct {
	open      [2]int64
	undecided int64
	total     [2]uint64
	in, out   uint64
	failures  [reasonCount]uint64
	detours   [reasonCount]uint64
}

func (s *flowSums) add(f *Flow) {
	s.open[0] += f.http.open.Load()
	s.open[1] += f.tcp.open.Load()
	s.undecided += f.undecided.Load()
	s.total[0] += f.http.total.Load()
	s.total[1] += f.tcp.total.Load()
	s.in += f.bytesIn.Load()
	s.out += f.bytesOut.Load()
	for i := range f.failures {
		s.failures[i] += f.failures[i].Load()
		s.detours[i] += f.detours[i].Load()
	}
}

func (r *Registry) collectUnknown(ch chan<- prometheus.Metric) {
	for i := range reasonCount {
		var n uint64
		for _, rec := range r.recorders {
			n += rec.unknown[i].Load()
		}
		if n != 0 {
			counter(ch, r.descs.connFailures, n, "", "", i.String())
		}
	}
}

func counter(ch chan<- prometheus.Metric, desc *prometheus.Desc, n uint64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
}

func gauge(ch chan<- prometheus.Metric, desc *prometheus.Desc, n int64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), labels...)
}

// histogramMetric exposes classic and native buckets together, which none of
// client_golang's constant histograms does.
type histogramMetric struct {
	desc   *prometheus.Desc
	labels durationLabels
	totals *totals
}

// Desc is prometheus.Metric's.
func (m *histogramMetric) Desc() *prometheus.Desc { return m.desc }

// Write is prometheus.Metric's.
func (m *histogramMetric) Write(out *dto.Metric) error {
	out.Label = []*dto.LabelPair{ // sorted by name, as Gather's check asks
		{Name: proto.String("route"), Value: proto.String(m.labels.route)},
		{Name: proto.String("service"), Value: proto.String(m.labels.service)},
	}
	out.Histogram = m.totals.proto()
	return nil
}
