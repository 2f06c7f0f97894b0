package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// answer is one request, seen from the client.
type answer struct {
	begun, ended time.Time
	by           string
	status       int // 0: no answer
}

// answers collects them from several workers.
type answers struct {
	mu   sync.Mutex
	list []answer
}

func (a *answers) add(o peer.Outcome) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, answer{begun: now.Add(-o.Latency), ended: now, by: o.Server, status: o.Status})
}

// since returns the answers to requests that began after t.
func (a *answers) since(t time.Time) []answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := len(a.list)
	for i > 0 && a.list[i-1].ended.After(t) {
		i--
	}
	return slices.Collect(func(yield func(answer) bool) {
		for _, one := range a.list[i:] {
			if one.begun.After(t) && !yield(one) {
				return
			}
		}
	})
}

// promised is how soon an edit is live, says the README.
const promised = 100 * time.Millisecond

// live shows that an edit of a file is in traffic at once.
func (d *demo) live(ctx context.Context) error {
	d.step("Policy edited under traffic")
	d.note("1,000 requests per second to /shop, which the route sends to version 1. %s is edited five times: to version 2, back, and so on.", routeFile)
	d.gap()
	d.yaml("  - {name: api-v1, port: 80}   becomes   - {name: api-v2, port: 80}")
	var seen answers
	stop := d.background(ctx, d.client2, func(ctx context.Context) (*peer.Result, error) {
		return peer.Load{URL: d.url("/shop"), Workers: 4, Rate: 1000, Dial: d.client2.Dial, Progress: seen.add}.Run(ctx)
	})
	defer stop()
	if _, err := d.settledOn(ctx, &seen, time.Now(), d.v1.Name); err != nil {
		return err
	}
	var took []time.Duration
	for i := range 5 {
		to := []version{d.v2, d.v1}[i%2]
		edited := time.Now()
		if err := d.sendShopTo(to); err != nil {
			return err
		}
		live, err := d.settledOn(ctx, &seen, edited, to.Name)
		if err != nil {
			return err
		}
		took = append(took, live)
	}
	r, err := stop()
	if err != nil {
		return err
	}
	if err := d.sendShopTo(d.v1); err != nil {
		return err
	}
	d.gap()
	var each []string
	for _, t := range took {
		each = append(each, fmt.Sprintf("%.0f", float64(t)/float64(time.Millisecond)))
	}
	d.text("from the file's saving to the last request by the old rule: %s ms", strings.Join(each, ", "))
	d.row("requests in that time", count(r.Requests), fmt.Sprintf("%s of them failed", count(r.Requests-r.OK)))
	d.gap()
	slices.Sort(took)
	median := took[len(took)/2]
	d.claim(median < promised, "an edit is live in traffic %s after the file was saved (median of five; promised: %s)", millis(median), millis(promised))
	d.claim(r.OK == r.Requests, "no request failed because of it: %s of %s were answered with 200", count(r.OK), count(r.Requests))
	return nil
}

// sendShopTo edits the route, as an editor does: a new file takes the old
// one's place.
func (d *demo) sendShopTo(v version) error {
	return d.world.WritePolicy(routeFile, strings.Replace(route, "- {name: api-v1, port: 80}\n", "- {name: "+v.Name+", port: 80}\n", 1))
}

// settledOn waits until only one version answers, and returns how long after
// the edit the last request began that another one answered, or the first
// answer of the new one came, whichever is later.
func (d *demo) settledOn(ctx context.Context, seen *answers, edited time.Time, name string) (time.Duration, error) {
	const enough = 200 // answers in a row: 200 ms
	var last time.Time
	err := world.Wait(ctx, name+" to answer", func() (bool, error) {
		last = time.Time{}
		row := 0
		for _, a := range seen.since(edited) {
			switch {
			case a.by != name:
				row = 0
				last = a.begun
			case row == 0:
				row = 1
				last = a.ended
			default:
				row++
			}
		}
		return row >= enough, nil
	})
	return last.Sub(edited), err
}
