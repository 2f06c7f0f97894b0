package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// way is one way to version 1.
type way struct {
	url string
	// ledger gets the requests; nil: the node does not see them.
	ledger  *ledger
	latency peer.Histogram
	ok      int64
}

// latency compares the direct way with the way through Culvert.
func (d *demo) latency(ctx context.Context) error {
	d.step("What it costs")
	d.note("One request after the other from client-1 to version 1, on one connection: straight to the pod's address, which is not captured, and to the service's address, through the proxy. In turns, direct first and last.")
	direct := &way{url: "http://" + d.v1.Addr4(apiPort).String() + "/shop"}
	through := &way{url: d.url("/shop"), ledger: &d.ledger}
	before, err := d.node.Metrics(ctx)
	if err != nil {
		return err
	}
	for _, w := range []*way{direct, through, through, direct} {
		if err := w.measure(ctx, d.client1); err != nil {
			return err
		}
	}
	proxied := func(m world.Metrics) int64 {
		return delta(before, m, "proxy_requests_total", "service", d.serviceName())
	}
	after, err := d.settle(ctx, func(m world.Metrics) bool { return proxied(m) == through.latency.Count() })
	if err != nil {
		return err
	}
	d.gap()
	const columns = "%-24s %12s %12s %12s"
	d.text(columns, "", "requests", "p50", "p99")
	d.text(columns, direct.cells("direct")...)
	d.text(columns, through.cells("through Culvert")...)
	more := func(q float64) string {
		return fmt.Sprintf("%+d µs", (through.latency.Quantile(q) - direct.latency.Quantile(q)).Microseconds())
	}
	d.text(columns, "Culvert adds", "", more(0.5), more(0.99))
	d.gap()
	asked := direct.latency.Count() + through.latency.Count()
	d.claim(direct.ok+through.ok == asked && proxied(after) == through.latency.Count(),
		"all %s requests were answered; Culvert saw its %s, and none of the %s direct ones", count(asked), count(proxied(after)), count(direct.latency.Count()))
	d.note("Throughput, other proxies beside it, and larger bodies: make bench.")
	return nil
}

// measure sends requests for a second.
func (w *way) measure(ctx context.Context, client *world.Pod) error {
	r, err := peer.Load{URL: w.url, Duration: time.Second, Dial: client.Dial,
		Progress: func(o peer.Outcome) { w.latency.Add(o.Latency) }}.Run(ctx)
	if err != nil {
		return err
	}
	w.ok += r.OK
	if w.ledger != nil {
		w.ledger.add(client, r)
	}
	return nil
}

// cells are the row of a table.
func (w *way) cells(name string) []any {
	return []any{name, count(w.latency.Count()), micros(w.latency.Quantile(0.5)), micros(w.latency.Quantile(0.99))}
}

// expected is what a metric must say.
type expected struct {
	shown, label string // as printed; shown "" repeats the one above
	name         string
	labels       []string
	want         int64
}

// expectations are what the clients and servers have counted.
func (d *demo) expectations() ([]expected, error) {
	stats, err := d.v3.server.Stats()
	if err != nil {
		return nil, err
	}
	const requests, duration = "proxy_requests_total", "proxy_request_duration_seconds"
	api := func(labels ...string) []string { return append(labels, "service", d.serviceName()) }
	l := &d.ledger
	return []expected{
		{requests, `service="default/api:80"`, requests, api(), l.total},
		{"", `status="200"`, requests, api("status", "200"), l.status[200]},
		{"", `status="503"`, requests, api("status", "503"), l.status[503]},
		{"", `source="default/client-1"`, requests, api("source", "default/client-1"), l.source["client-1"]},
		{"", `source="default/client-2"`, requests, api("source", "default/client-2"), l.source["client-2"]},
		{duration + "_count", `service="default/api:80"`, duration, api(), l.total},
		// Each 503 of version 3 was either seen by a client or tried again.
		{"proxy_retries_total", `reason="upstream_status"`, "proxy_retries_total", api("reason", "upstream_status"), stats.Failures - l.status[503]},
		{"proxy_attempts_total", `outcome="failure_status"`, "proxy_attempts_total", api("outcome", "failure_status"), stats.Failures},
		{"proxy_loop_panics_total", "", "proxy_loop_panics_total", nil, 0},
		{"culvert_capture_total", `reason="away_open"`, "culvert_capture_total", []string{"reason", "away_open"}, 0},
	}, nil
}

// metrics compares what the node counts with what the clients counted.
func (d *demo) metrics(ctx context.Context) error {
	d.step("What the metrics say")
	d.note("The node's own /metrics, beside what the clients and servers of this demo counted since the start.")
	rows, err := d.expectations()
	if err != nil {
		return err
	}
	agree := func(m world.Metrics) bool {
		return !slices.ContainsFunc(rows, func(r expected) bool { return int64(m.Sum(r.name, r.labels...)) != r.want })
	}
	m, err := d.settle(ctx, agree)
	if err != nil {
		return err
	}
	d.gap()
	d.text("%-38s %-28s %10s %10s", "", "", "node", "demo")
	for _, r := range rows {
		d.text("%-38s %-28s %10s %10s", r.shown, r.label, count(m.Sum(r.name, r.labels...)), count(r.want))
	}
	d.gap()
	if away := m.Sum("culvert_capture_total", "reason", "away_open"); away > 0 {
		d.excuse = fmt.Sprintf("This machine is too busy: the proxy did not get a processor for 200 ms, and %s connections went "+
			"straight to endpoints, as the stance open says. Try again when there is less to do.", count(away))
	}
	d.claim(agree(m), "the node's metrics and the demo's own counts are the same")
	return nil
}
