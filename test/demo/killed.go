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
	d.note("300 requests per second to /any, each on a new connection, while the proxy gets a SIGKILL. The stance of the service is open: without a proxy, new connections go where they would without Culvert, by the rules of kube-proxy.")
	g, err := d.gone(ctx)
	if err != nil {
		return err
	}
	d.gap()
	d.row("requests in that time", count(g.load.Requests), fmt.Sprintf("%s of them failed", count(g.load.Requests-g.load.OK)))
	d.row("went straight to an endpoint", count(g.direct), "culvert_capture_total away_open")
	d.row("captured again, by the new process", count(g.again), "culvert_capture_total to_proxy")
	d.gap()
	d.claim(g.direct > 0 && g.failing < outageBound, "the last request failed %s after the kill: a heartbeat is stale after 200 ms", millis(g.failing))
	d.claim(g.again > 0 && !g.failedAfter, "ready again after %s: the new process took over what was in the kernel, without a gap", millis(g.ready))
	return nil
}

// gone is the time without a proxy.
type gone struct {
	load *peer.Result
	// failing is how long after the kill the last request failed, ready how
	// long the new process took.
	failing, ready time.Duration
	direct, again  int64 // connections that went straight; captured by the new process
	failedAfter    bool  // a request failed after the new process was started
}

// gone kills the node under traffic, waits until requests are answered without
// it, and starts it again.
func (d *demo) gone(ctx context.Context) (g gone, err error) {
	before, err := d.node.Metrics(ctx)
	if err != nil {
		return g, err
	}
	var seen answers
	stop := d.background(ctx, d.client2, func(ctx context.Context) (*peer.Result, error) {
		return peer.Load{URL: d.url("/any"), Workers: 8, Rate: 300, NewConnection: true, Dial: d.client2.Dial, Progress: seen.add}.Run(ctx)
	})
	defer stop()
	if _, err := d.answered(ctx, &seen, time.Now()); err != nil {
		return g, err
	}
	killed := time.Now()
	d.node.Kill()
	last, err := d.answered(ctx, &seen, killed)
	if err != nil {
		return g, err
	}
	if !last.IsZero() {
		g.failing = last.Sub(killed)
	}
	launched := time.Now()
	if err := d.launch(ctx); err != nil {
		return g, err
	}
	g.ready = time.Since(launched)
	returned, err := d.node.Metrics(ctx)
	if err != nil {
		return g, err
	}
	last, err = d.answered(ctx, &seen, launched)
	if err != nil {
		return g, err
	}
	g.failedAfter = !last.IsZero()
	if g.load, err = stop(); err != nil {
		return g, err
	}
	after, err := d.node.Metrics(ctx)
	g.direct = delta(before, after, "culvert_capture_total", "reason", "away_open")
	g.again = delta(returned, after, "culvert_capture_total", "reason", "to_proxy")
	return g, err
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
