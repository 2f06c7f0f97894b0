package main

import (
	"context"
	"fmt"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// outageBound is how long new connections may fail after the proxy was killed:
// a heartbeat is stale after 200 ms; the rest is for a busy machine.
const outageBound = time.Second

// killed shows what is there when the proxy is not. It needs kube-proxy's
// rules, without which a service's address leads nowhere by itself.
func (d *demo) killed(ctx context.Context) error {
	if !d.kubeProxy {
		return nil
	}
	d.step("Killed, and started again")
	d.note("300 requests per second to /any, each on a new connection, while the proxy is killed with kill -9. The stance of the service is open: without a proxy, new connections go straight to the endpoints, by the rules that kube-proxy has.")
	before, err := d.node.Metrics(ctx)
	if err != nil {
		return err
	}
	var seen answers
	stop := d.background(ctx, d.client2, func(ctx context.Context) (*peer.Result, error) {
		return peer.Load{URL: d.url("/any"), Workers: 8, Rate: 300, NewConnection: true, Dial: d.client2.Dial, Progress: seen.add}.Run(ctx)
	})
	defer stop()
	if _, err := d.answered(ctx, &seen, time.Now()); err != nil {
		return err
	}
	killed := time.Now()
	d.node.Kill()
	lastFailure, err := d.answered(ctx, &seen, killed)
	if err != nil {
		return err
	}
	launched := time.Now()
	if err := d.launch(ctx); err != nil {
		return err
	}
	took := time.Since(launched)
	returned, err := d.node.Metrics(ctx)
	if err != nil {
		return err
	}
	lateFailure, err := d.answered(ctx, &seen, launched)
	if err != nil {
		return err
	}
	r, err := stop()
	if err != nil {
		return err
	}
	after, err := d.node.Metrics(ctx)
	if err != nil {
		return err
	}
	direct := delta(before, after, "culvert_capture_total", "reason", "away_open")
	again := delta(returned, after, "culvert_capture_total", "reason", "to_proxy")
	d.gap()
	d.row("requests in that time", count(r.Requests), fmt.Sprintf("%s of them failed", count(r.Requests-r.OK)))
	d.row("went straight to an endpoint", count(direct), "culvert_capture_total away_open")
	d.row("captured again, by the new process", count(again), "culvert_capture_total to_proxy")
	d.gap()
	gone := time.Duration(0)
	if !lastFailure.IsZero() {
		gone = lastFailure.Sub(killed)
	}
	d.claim(direct > 0 && gone < outageBound, "the last request failed %s after the kill (a heartbeat is stale after 200 ms); from then on all were answered", millis(gone))
	d.claim(again > 0 && lateFailure.IsZero(), "the new process took over what was in the kernel: ready after %s, and no request failed by that", millis(took))
	return nil
}

// answered waits until 100 requests in a row that began after a time were
// answered with 200. It returns when the last one before them failed; the zero
// time when none did.
func (d *demo) answered(ctx context.Context, seen *answers, since time.Time) (lastFailure time.Time, err error) {
	err = world.Wait(ctx, "answers", func() (bool, error) {
		row := 0
		for _, a := range seen.since(since) {
			row++
			if a.status != 200 {
				row = 0
				lastFailure = a.ended
			}
		}
		return row >= 100, nil
	})
	return lastFailure, err
}
