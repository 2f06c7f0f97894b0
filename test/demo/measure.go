package main

import (
	"context"
	"fmt"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// latency compares the direct way with the way through Culvert.
func (d *demo) latency(ctx context.Context) error {
	d.step("What it costs")
	d.note("One request after the other from client-1 to version 1, on one connection: straight to the pod's address, which is not captured, and to the service's address, through the proxy. In turns, direct first and last.")
	direct, through := &peer.Histogram{}, &peer.Histogram{}
	ways := []struct {
		url  string
		into *peer.Histogram
	}{
		{"http://" + d.v1.Addr4(apiPort).String() + "/shop", direct},
		{d.url("/shop"), through},
	}
	before, err := d.node.Metrics(ctx)
	if err != nil {
		return err
	}
	var answered, asked int64
	for _, i := range []int{0, 1, 1, 0} {
		l := peer.Load{URL: ways[i].url, Duration: time.Second, Dial: d.client1.Dial,
			Progress: func(o peer.Outcome) { ways[i].into.Add(o.Latency) }}
		r, err := l.Run(ctx)
		if err != nil {
			return err
		}
		if i == 1 {
			d.ledger.add(d.client1, r)
		}
		answered, asked = answered+r.OK, asked+r.Requests
	}
	proxied := func(m world.Metrics) int64 {
		return delta(before, m, "proxy_requests_total", "service", d.serviceName())
	}
	after, err := d.settle(ctx, func(m world.Metrics) bool { return proxied(m) == through.Count() })
	if err != nil {
		return err
	}
	d.gap()
	d.text("%-24s %12s %12s %12s", "", "requests", "p50", "p99")
	for _, row := range []struct {
		name string
		h    *peer.Histogram
	}{{"direct", direct}, {"through Culvert", through}} {
		d.text("%-24s %12s %12s %12s", row.name, count(row.h.Count()), micros(row.h.Quantile(0.5)), micros(row.h.Quantile(0.99)))
	}
	more := func(q float64) string {
		return fmt.Sprintf("%+d µs", (through.Quantile(q) - direct.Quantile(q)).Microseconds())
	}
	d.text("%-24s %12s %12s %12s", "Culvert adds", "", more(0.5), more(0.99))
	d.gap()
	d.claim(answered == asked && proxied(after) == through.Count(),
		"all %s requests were answered; Culvert saw its %s, and none of the %s direct ones", count(asked), count(proxied(after)), count(direct.Count()))
	d.note("Throughput, other proxies beside it, and larger bodies: make bench.")
	return nil
}

// metrics compares what the node counts with what the clients counted.
func (d *demo) metrics(ctx context.Context) error {
	d.step("What the metrics say")
	d.note("The node's own /metrics, beside what the clients and servers of this demo counted since the start.")
	stats, err := d.v3.server.Stats()
	if err != nil {
		return err
	}
	api := []string{"service", d.serviceName()}
	with := func(labels ...string) []string { return append(labels, api...) }
	rows := []struct {
		metric, label string
		labels        []string
		want          int64
	}{
		{"proxy_requests_total", `service="default/api:80"`, api, d.ledger.total},
		{"", `status="200"`, with("status", "200"), d.ledger.status[200]},
		{"", `status="503"`, with("status", "503"), d.ledger.status[503]},
		{"", `source="default/client-1"`, with("source", "default/client-1"), d.ledger.source["client-1"]},
		{"", `source="default/client-2"`, with("source", "default/client-2"), d.ledger.source["client-2"]},
		{"proxy_request_duration_seconds_count", `service="default/api:80"`, api, d.ledger.total},
		{"proxy_retries_total", `reason="upstream_status"`, with("reason", "upstream_status"), stats.Failures - d.ledger.status[503]},
		{"proxy_attempts_total", `outcome="failure_status"`, with("outcome", "failure_status"), stats.Failures},
		{"proxy_loop_panics_total", "", nil, 0},
		{"culvert_capture_total", `reason="away_open"`, []string{"reason", "away_open"}, 0},
	}
	value := func(m world.Metrics, i int) int64 {
		name := rows[i].metric
		for j := i; name == ""; j-- {
			name = rows[j].metric
		}
		if name == "proxy_request_duration_seconds_count" {
			name = "proxy_request_duration_seconds"
		}
		return int64(m.Sum(name, rows[i].labels...))
	}
	agree := func(m world.Metrics) bool {
		for i := range rows {
			if value(m, i) != rows[i].want {
				return false
			}
		}
		return true
	}
	m, err := d.settle(ctx, agree)
	if err != nil {
		return err
	}
	d.gap()
	d.text("%-38s %-28s %10s %10s", "", "", "node", "demo")
	for i, r := range rows {
		d.text("%-38s %-28s %10s %10s", r.metric, r.label, count(value(m, i)), count(r.want))
	}
	d.gap()
	if away := m.Sum("culvert_capture_total", "reason", "away_open"); away > 0 {
		d.excuse = fmt.Sprintf("This machine is too busy: the proxy did not get a processor for 200 ms, and %s connections went "+
			"straight to endpoints, as the stance open says. Try again when there is less to do.", count(away))
	}
	d.claim(agree(m), "the node's metrics and the demo's own counts are the same")
	return nil
}
