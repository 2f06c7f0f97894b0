package main

import (
	"context"
	"fmt"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// ejected shows the circuit breaker: a version that fails is left out, tried
// with single requests, and taken back.
func (d *demo) ejected(ctx context.Context) error {
	d.step("Ejected and back again")
	d.note("400 requests per second to /any. Version 3 breaks altogether, and is repaired a while later.")
	if err := d.v3.server.SetFaults(peer.Faults{}); err != nil {
		return err
	}
	stop := d.background(ctx, d.client2, func(ctx context.Context) (*peer.Result, error) {
		return d.client2.Load(ctx, peer.Load{URL: d.url("/any"), Workers: 2, Rate: 400})
	})
	defer stop()
	if err := d.served(ctx, d.v3, 20); err != nil {
		return err
	}
	before, err := d.node.Metrics(ctx)
	if err != nil {
		return err
	}
	o, err := d.outage(ctx)
	if err != nil {
		return err
	}
	if err := d.served(ctx, d.v3, 50); err != nil {
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
	d.gap()
	d.timeline(o)
	d.gap()
	ejections := delta(before, after, "proxy_ejections_total", "backend", d.serviceName())
	d.row("requests in that time", count(r.Requests), fmt.Sprintf("%s of them failed", count(r.Requests-r.OK)))
	d.row("requests that version 3 got while broken", count(o.failures), "to eject it, then single probes")
	d.row("ejections", count(ejections), "proxy_ejections_total")
	d.gap()
	first := o.first("open")
	d.claim(first.failures >= 5 && ejections >= 1, "version 3 was ejected %s after it broke, by %d failures in a row", millis(first.at.Sub(o.broken)), first.failures)
	d.claim(o.back.at.After(o.repaired), "it came back %.1f s after it was repaired, when a probe went well", o.back.at.Sub(o.repaired).Seconds())
	d.claim(r.OK == r.Requests, "no request failed: %s of %s were answered with 200", count(r.OK), count(r.Requests))
	return nil
}

// outage is what happened to version 3.
type outage struct {
	broken, repaired time.Time
	events           []healthEvent
	back             healthEvent
	failures         int64 // answers of version 3 that were faults
}

// first is the first change to a state.
func (o outage) first(to string) healthEvent {
	for _, e := range o.events {
		if e.to == to {
			return e
		}
	}
	return healthEvent{at: o.broken}
}

// outage breaks version 3, waits until it was ejected and its first probe has
// failed, repairs it, and waits until it is back.
func (d *demo) outage(ctx context.Context) (outage, error) {
	endpoint := d.v3.Addr4(apiPort).String()
	start, err := d.v3.server.Stats()
	if err != nil {
		return outage{}, err
	}
	o := outage{broken: time.Now()}
	if err := d.v3.server.SetFaults(peer.Faults{FailShare: 1}); err != nil {
		return o, err
	}
	out, err := d.health.await(ctx, endpoint, "open", o.broken)
	if err != nil {
		return o, err
	}
	// The probe that fails is the second change to "open".
	if _, err := d.health.await(ctx, endpoint, "open", out.at.Add(time.Millisecond)); err != nil {
		return o, err
	}
	stats, err := d.v3.server.Stats()
	if err != nil {
		return o, err
	}
	o.failures = stats.Failures - start.Failures
	o.repaired = time.Now()
	if err := d.v3.server.SetFaults(peer.Faults{}); err != nil {
		return o, err
	}
	o.back, err = d.health.await(ctx, endpoint, "closed", o.repaired)
	o.events = d.health.of(endpoint, o.broken)
	return o, err
}

// timeline writes the changes with their times.
func (d *demo) timeline(o outage) {
	at := func(t time.Time, what string) {
		d.text("%+8.3f s   %s", t.Sub(o.broken).Seconds(), what)
	}
	at(o.broken, "version 3 breaks: it answers everything with 503")
	repaired := false
	for _, e := range o.events {
		if !repaired && e.at.After(o.repaired) {
			repaired = true
			at(o.repaired, "version 3 is repaired")
		}
		switch {
		case e.to == "open" && e.from == "closed":
			at(e.at, fmt.Sprintf("ejected after %d failures in a row; requests go to versions 1 and 2", e.failures))
		case e.to == "half_open":
			at(e.at, "one request may try it")
		case e.to == "open":
			at(e.at, "which fails: ejected again, for twice as long")
		case e.to == "closed":
			at(e.at, "which is answered: version 3 is back")
		default:
			at(e.at, e.from+" to "+e.to)
		}
	}
}

// served waits until a version has answered so many requests more.
func (d *demo) served(ctx context.Context, v version, more int64) error {
	start, err := v.server.Stats()
	if err != nil {
		return err
	}
	return world.Wait(ctx, v.Name+" to serve", func() (bool, error) {
		now, err := v.server.Stats()
		return now.Requests >= start.Requests+more, err
	})
}
