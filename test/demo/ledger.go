package main

import (
	"context"
	"sync"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// ledger is what the demo's own clients saw of requests to the API. The node's
// metrics must say the same.
type ledger struct {
	source map[string]int64 // requests by client
	status map[int]int64    // answers by status
	total  int64
}

func (l *ledger) add(client *world.Pod, r *peer.Result) {
	if l.source == nil {
		l.source, l.status = map[string]int64{}, map[int]int64{}
	}
	l.source[client.Name] += r.Requests
	l.total += r.Requests
	for status, n := range r.Status {
		l.status[status] += n
	}
}

// load sends requests from a pod, by a process of its own there.
func (d *demo) load(ctx context.Context, client *world.Pod, l peer.Load) (*peer.Result, error) {
	r, err := client.Load(ctx, l)
	if err != nil {
		return nil, err
	}
	d.ledger.add(client, r)
	return r, nil
}

// background starts a load that goes on until stop, which waits for it and
// returns what it saw. stop may be called again.
func (d *demo) background(ctx context.Context, client *world.Pod, run func(context.Context) (*peer.Result, error)) (stop func() (*peer.Result, error)) {
	ctx, cancel := context.WithCancel(ctx)
	var r *peer.Result
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { r, err = run(ctx) })
	return sync.OnceValues(func() (*peer.Result, error) {
		cancel()
		wg.Wait()
		if err == nil {
			d.ledger.add(client, r)
		}
		return r, err
	})
}

// delta is how much a metric has grown between two scrapes.
func delta(before, after world.Metrics, name string, labels ...string) int64 {
	return int64(after.Sum(name, labels...) - before.Sum(name, labels...))
}

// settle scrapes until a condition holds, for a loop counts a request a moment
// after the client has its answer. It returns the last scrape either way: what
// does not hold shows in the claim.
func (d *demo) settle(ctx context.Context, holds func(world.Metrics) bool) (world.Metrics, error) {
	var m world.Metrics
	bounded, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	var scrapeErr error
	_ = world.Wait(bounded, "the metrics", func() (bool, error) {
		m, scrapeErr = d.node.Metrics(ctx)
		return scrapeErr == nil && holds(m), scrapeErr
	})
	return m, scrapeErr
}
