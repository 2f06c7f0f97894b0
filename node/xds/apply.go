package xds

import (
	"context"
	"log/slog"
	"time"
)

// saveEvery bounds how often the state file is written: each write is an fsync,
// and endpoints may change a hundred times a second.
const saveEvery = time.Second

// tellEvery bounds the lines of the log about what was applied, at info; debug
// has them all.
const tellEvery = time.Second

// hand passes the live choice to the applier, once it is whole.
func (c *Client) hand(resources []*resource) {
	if !c.complete {
		if !c.waiting.settled() {
			return
		}
		c.complete = true
	}
	if c.handed == c.snapshot.Version {
		return
	}
	c.handed = c.snapshot.Version
	u := Update{Snapshot: c.snapshot, Workloads: c.live.list(), resources: resources}
	// Only the newest matters, and Run's goroutine must not wait for the kernel:
	// one that was not taken yet is replaced. There is no other producer.
	select {
	case <-c.updates:
	default:
	}
	c.updates <- u
}

// applier calls Apply and writes the state file. Owned by its goroutine.
type applier struct {
	client  *Client
	current Update
	// failed is set while current has to be tried again.
	failed bool
	// unsaved is set while what was applied is not in the state file.
	unsaved bool
	retry   backoff
	// told is when a line of the log said so last.
	told time.Time
	// again fires when current is to be tried again, save when the file is due.
	again, save *time.Timer
}

// applyUpdates runs until ctx ends.
func (c *Client) applyUpdates(ctx context.Context) {
	a := &applier{client: c, retry: backoff{base: 500 * time.Millisecond, max: 30 * time.Second},
		again: time.NewTimer(saveEvery), save: time.NewTimer(0)}
	a.again.Stop()
	defer a.again.Stop()
	defer a.save.Stop()
	// The first save may be at once.
	<-a.save.C
	saved := time.Time{}
	for {
		select {
		case u := <-c.updates:
			a.current = u
			a.retry.reset()
			a.apply(ctx)
		case <-a.again.C:
			a.apply(ctx)
		case <-a.save.C:
		case <-ctx.Done():
			a.write()
			return
		}
		if a.unsaved {
			if wait := saveEvery - time.Since(saved); wait > 0 {
				a.save.Reset(wait)
				continue
			}
			a.write()
			saved = time.Now()
		}
	}
}

// apply makes the current update real, or sets the time to try again.
func (a *applier) apply(ctx context.Context) {
	c := a.client
	started := time.Now()
	err := c.cfg.Apply(ctx, a.current)
	version := a.current.Snapshot.Version
	c.status.applied(version, err)
	a.again.Stop()
	if err != nil {
		wait := a.retry.next()
		a.again.Reset(wait)
		c.cfg.Log.Error("configuration is not applied", "version", version, "error", err, "retry_in", wait)
		return
	}
	a.unsaved = c.cfg.StateDir != ""
	level := slog.LevelInfo
	if time.Since(a.told) < tellEvery {
		level = slog.LevelDebug
	} else {
		a.told = time.Now()
	}
	c.cfg.Log.Log(ctx, level, "configuration applied", "version", version, "services", len(a.current.Snapshot.Services),
		"backends", len(a.current.Snapshot.Backends), "workloads", len(a.current.Workloads), "took", time.Since(started))
}

// write saves what was applied last.
func (a *applier) write() {
	if !a.unsaved {
		return
	}
	a.unsaved = false
	c := a.client
	if err := saveState(c.cfg.StateDir, c.cfg.Node, a.current.resources); err != nil {
		c.cfg.Log.Warn("the configuration is not kept for the next start", "error", err)
	}
}

// restore starts from the state file, if there is a good one.
func (c *Client) restore() {
	if c.cfg.StateDir == "" {
		return
	}
	saved, err := loadState(c.cfg.StateDir, c.cfg.Node)
	if err != nil {
		c.cfg.Log.Warn("starting without the last configuration", "error", err)
		return
	}
	if saved == nil {
		return
	}
	var touched []change
	for _, m := range saved {
		k, known := kindOf(m.GetResource().GetTypeUrl())
		if !known {
			continue
		}
		r, err := decode(k, m)
		if err != nil {
			// Another version of this program may have taken it.
			c.cfg.Log.Warn("left out a resource of the last configuration", "type", k.String(), "name", m.GetName(), "error", err)
			continue
		}
		touched = append(touched, change{k, r.name, c.accepted.put(r)})
	}
	chosen := choose(&c.accepted, c.live, func(ref) bool { return true })
	resources, err := c.goLive(chosen.next, chosen.next.input)
	if err != nil {
		c.accepted = newSet()
		c.cfg.Log.Warn("starting without the last configuration", "error", err)
		return
	}
	c.complete = true
	c.status.restored()
	c.status.holds(&c.accepted, touched)
	c.hand(resources)
}
