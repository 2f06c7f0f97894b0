package node

import (
	"context"
	"fmt"
	"time"

	"github.com/culvert-mesh/culvert/node/capture"
	"github.com/culvert-mesh/culvert/node/xds"
	"github.com/culvert-mesh/culvert/proxy/table"
)

// apply makes a configuration real: release, publish, redirect. A crash between
// any two lines leaves connections going straight to their origins, never to a
// proxy that does not know them. Called by the xds client, one at a time; to
// call it again with the same update is harmless.
func (n *node) apply(ctx context.Context, u xds.Update) error {
	next := origins(u.Snapshot)
	// Before the first workload is admitted: between the two, stances would hold
	// for it. And before the first write: who beats leads.
	if !n.alive.Swap(true) {
		n.firstBeat(ctx)
	}
	if err := n.kernel.Release(next); err != nil {
		return fmt.Errorf("release origins: %w", err)
	}
	n.server.Publish(u.Snapshot)
	// New pods are admitted here: what they can reach through the hook is a part
	// of what was just published. A pod that cannot be enrolled is tried again by
	// itself and holds nothing up.
	if err := n.pods.update(ctx, u.Workloads); err != nil {
		return err
	}
	if err := n.kernel.Redirect(next); err != nil {
		return fmt.Errorf("redirect origins: %w", err)
	}
	n.version.Store(&u.Snapshot.Version)
	return nil
}

// firstBeat stamps every loop's heartbeat at once. A loop that does not answer has none, and the kernel side
// goes by that.
func (n *node) firstBeat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	beaten := make(chan struct{}, n.group.Len())
	for i := range n.group.Len() {
		n.group.Loop(i).Post(func() {
			n.kernel.Beat(i)
			beaten <- struct{}{}
		})
	}
	for range n.group.Len() {
		select {
		case <-beaten:
		case <-ctx.Done():
			return
		}
	}
}

// origins is what capture has to know of a snapshot.
func origins(s *table.Snapshot) []capture.Origin {
	var out []capture.Origin
	for _, service := range s.Services {
		for _, addr := range service.Origins {
			o := capture.Origin{Addr: addr, Mode: capture.ModeProxy, Stance: capture.StanceOpen}
			if service.Stance == table.Closed {
				o.Stance = capture.StanceClosed
			}
			if service.Protocol == table.Opaque {
				o.Mode = capture.ModeKernel
				o.Endpoints = endpoints(service.Backend, addr.Addr().Is4())
			}
			out = append(out, o)
		}
	}
	return out
}

// endpoints are those of one address family that take new connections: the ready
// ones, or, when there is none, those that still serve while they terminate
// (KEP-1669).
func endpoints(b *table.Backend, ipv4 bool) []capture.Endpoint {
	var ready, serving []capture.Endpoint
	for _, e := range b.Endpoints {
		if e.Addr.Addr().Is4() != ipv4 {
			continue
		}
		endpoint := capture.Endpoint{Addr: e.Addr, Weight: e.Weight}
		switch {
		case e.Ready:
			ready = append(ready, endpoint)
		case e.Serving:
			serving = append(serving, endpoint)
		}
	}
	if len(ready) == 0 {
		return serving
	}
	return ready
}
