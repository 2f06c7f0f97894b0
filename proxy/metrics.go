package proxy

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// liveMetrics are the gauges and counters of what lives in the server, beside
// what telemetry counts of traffic.
type liveMetrics struct {
	health, usable, ejections, keptLast, live, retries        *prometheus.Desc
	poolIdle, poolOpened, poolReused, poolEnded               *prometheus.Desc
	loopBusy, loopTurns, loopEvents, loopPanics, loopLag      *prometheus.Desc
	loopConns, loopCoroutines, loopAcceptErrors, droppedNotes *prometheus.Desc
}

func newLiveMetrics() liveMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return liveMetrics{
		health:           desc("proxy_breaker_state", "1 for the state that the endpoint's circuit breaker is in.", "backend", "endpoint", "state"),
		usable:           desc("proxy_backend_endpoints", "Endpoints of a backend: all, candidates for new requests, and those of them that are not ejected.", "backend", "state"),
		ejections:        desc("proxy_ejections_total", "Endpoints that were ejected.", "backend"),
		keptLast:         desc("proxy_ejections_averted_total", "Ejections that were not made because no other endpoint was usable.", "backend"),
		live:             desc("proxy_backend_live_attempts", "Attempts that are under way.", "backend"),
		retries:          desc("proxy_backend_live_retries", "Retries that are under way, their backoff included.", "backend"),
		poolIdle:         desc("proxy_pool_idle_connections", "Idle connections to endpoints.", "loop"),
		poolOpened:       desc("proxy_pool_opened_total", "Connections to endpoints that were opened.", "loop"),
		poolReused:       desc("proxy_pool_reused_total", "Idle connections that were used again.", "loop"),
		poolEnded:        desc("proxy_pool_ended_total", "Idle connections that ended, by why.", "loop", "reason"),
		loopBusy:         desc("proxy_loop_busy_seconds_total", "Time in which the loop did not wait.", "loop"),
		loopTurns:        desc("proxy_loop_turns_total", "Turns of the loop.", "loop"),
		loopEvents:       desc("proxy_loop_events_total", "Events that epoll reported.", "loop"),
		loopPanics:       desc("proxy_loop_panics_total", "Panics in coroutines and callbacks; each ended one connection.", "loop"),
		loopLag:          desc("proxy_loop_lag_seconds", "The longest turn of the last full second.", "loop"),
		loopConns:        desc("proxy_loop_connections", "Open sockets, of clients and to endpoints.", "loop"),
		loopCoroutines:   desc("proxy_loop_coroutines", "Coroutines that have a task.", "loop"),
		loopAcceptErrors: desc("proxy_loop_accept_errors_total", "Pauses in accepting for want of descriptors or memory.", "loop"),
		droppedNotes:     desc("proxy_health_changes_dropped_total", "Changes of endpoints' health that were not logged."),
	}
}

// Describe is prometheus.Collector's.
func (s *Server) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect is prometheus.Collector's: breakers, pools and loops as they are now.
// What traffic was is telemetry.Registry's.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	m := s.metrics
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	for _, b := range s.registry.Dump() {
		put(m.usable, gauge, float64(b.Endpoints), b.Backend, "all")
		put(m.usable, gauge, float64(b.Candidates), b.Backend, "candidate")
		put(m.usable, gauge, float64(b.Usable), b.Backend, "usable")
		put(m.ejections, counter, float64(b.Ejections), b.Backend)
		put(m.keptLast, counter, float64(b.Lasts), b.Backend)
		put(m.live, gauge, float64(b.Live), b.Backend)
		put(m.retries, gauge, float64(b.Retries), b.Backend)
		for _, e := range b.List {
			put(m.health, gauge, 1, b.Backend, e.Address.String(), e.Health)
		}
	}
	for _, p := range s.registry.PoolStats() {
		loop := strconv.Itoa(p.Loop)
		put(m.poolIdle, gauge, float64(p.Idle), loop)
		put(m.poolOpened, counter, float64(p.Opened), loop)
		put(m.poolReused, counter, float64(p.Reused), loop)
		put(m.poolEnded, counter, float64(p.Expired), loop, "expired")
		put(m.poolEnded, counter, float64(p.PeerClosed), loop, "peer_closed")
		put(m.poolEnded, counter, float64(p.Evicted), loop, "evicted")
	}
	for i, l := range s.config.Group.Stats() {
		loop := strconv.Itoa(i)
		put(m.loopBusy, counter, l.Busy.Seconds(), loop)
		put(m.loopTurns, counter, float64(l.Turns), loop)
		put(m.loopEvents, counter, float64(l.Events), loop)
		put(m.loopPanics, counter, float64(l.Panics), loop)
		put(m.loopLag, gauge, l.Lag.Seconds(), loop)
		put(m.loopConns, gauge, float64(l.Conns), loop)
		put(m.loopCoroutines, gauge, float64(l.Coroutines), loop)
		put(m.loopAcceptErrors, counter, float64(l.AcceptErrors), loop)
	}
	put(m.droppedNotes, counter, float64(s.registry.DroppedChanges()))
}
