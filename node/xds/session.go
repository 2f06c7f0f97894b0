package xds

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// maxQueued stops reading responses while this many requests wait to be sent.
const maxQueued = 256

// session is one stream. Owned by Run's goroutine; a wire moves its messages.
type session struct {
	client *Client
	// queue holds requests that the sender has not taken yet.
	queue []*discoveryv3.DeltaDiscoveryRequest
	// subscribed is what was asked for by name, per kind.
	subscribed [kinds]map[string]bool
	opened     [kinds]bool
	answered   bool
	pace       pace
}

// session opens a stream and works on it until it ends. It reports whether the
// control plane said anything.
func (c *Client) session(ctx context.Context, conn *grpc.ClientConn) (answered bool, err error) {
	w, err := openWire(ctx, conn)
	if err != nil {
		return false, err
	}
	defer w.close()
	s := &session{client: c}
	s.begin()
	for {
		if err, over := s.turn(w); over {
			return s.answered, err
		}
	}
}

// turn does the next thing there is to do, and waits for it if need be.
func (s *session) turn(w *wire) (err error, over bool) {
	var next *discoveryv3.DeltaDiscoveryRequest
	from, to := w.in, w.out
	if len(s.queue) > 0 {
		next = s.queue[0]
	} else {
		to = nil
	}
	patience := s.client.patience()
	defer patience.Stop()
	rest, rested := s.pace.rest()
	defer rest.Stop()
	if len(s.queue) > maxQueued || !rested {
		from = nil
	}
	select {
	case r := <-from:
		s.answered = true
		s.pace.work(func() { s.handle(r) })
	case to <- next:
		s.queue = s.queue[1:]
	case <-rest.C:
	case <-patience.C:
		s.giveUp()
	case err := <-w.ended:
		return err, true
	}
	return nil, false
}

// patience is a timer for the next missing resource to be given up.
func (c *Client) patience() *time.Timer {
	d, some := c.waiting.next(time.Now(), c.cfg.WarmTimeout)
	if !some {
		d = 24 * time.Hour
	}
	return time.NewTimer(d)
}

// begin asks for everything, telling what is here already.
func (s *session) begin() {
	c := s.client
	c.waiting.restart(time.Now())
	clear(c.refused)
	for k := range kinds {
		s.subscribed[k] = map[string]bool{}
		if k.wildcard() {
			s.ask(k, []string{"*"}, nil)
		}
	}
	s.settle(nil)
	c.status.opened()
}

// ask queues a request for names; the first of a kind tells the versions.
func (s *session) ask(k kind, more, fewer []string) {
	r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURLs[k], ResourceNamesSubscribe: more, ResourceNamesUnsubscribe: fewer}
	if !s.opened[k] {
		s.opened[k] = true
		r.InitialResourceVersions = s.client.accepted.versions(k)
		r.Node = &corev3.Node{Id: s.client.cfg.Node, UserAgentName: "culvert"}
	}
	s.queue = append(s.queue, r)
}

// handle takes one response: what can be taken is, and the answer says what
// cannot.
func (s *session) handle(r *discoveryv3.DeltaDiscoveryResponse) {
	c := s.client
	k, known := kindOf(r.GetTypeUrl())
	if !known || !s.opened[k] {
		s.answer(r, []string{fmt.Sprintf("type %q was not asked for", r.GetTypeUrl())})
		return
	}
	c.seen[k] = true
	touched, faults := c.accept(k, r)
	faults = append(faults, s.settle(touched)...)
	s.answer(r, faults)
	c.status.answered(k, r.GetSystemVersionInfo(), faults)
	c.status.holds(&c.accepted, touched)
}

// names reports whether changes may name other resources, or bring what nobody
// names: only these change the subscriptions or what is kept of them. No change at
// all is the start of a stream, or the end of a wait.
func (s *session) names(touched []change) bool {
	return len(touched) == 0 || slices.ContainsFunc(touched, func(t change) bool {
		return t.kind == clusters || t.kind == listeners || !t.kind.wildcard() && !s.subscribed[t.kind][t.name]
	})
}

// change is one resource of a response, and what was there before it.
type change struct {
	kind   kind
	name   string
	before *resource
}

// accept decodes a response into the accepted set.
func (c *Client) accept(k kind, r *discoveryv3.DeltaDiscoveryResponse) (touched []change, faults []string) {
	outcome := map[ref]error{}
	defer func() { c.refuses(outcome) }()
	for _, m := range r.GetResources() {
		decoded, err := decode(k, m)
		outcome[ref{k, m.GetName()}] = err
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s %q: %v", k, m.GetName(), err))
			continue
		}
		touched = append(touched, change{k, decoded.name, c.accepted.put(decoded)})
	}
	for _, name := range r.GetRemovedResources() {
		outcome[ref{k, name}] = nil
		if before := c.accepted[k][name]; before != nil {
			delete(c.accepted[k], name)
			touched = append(touched, change{k, name, before})
		}
	}
	return touched, faults
}

// refuses notes which resources of a response were refused: with an error.
func (c *Client) refuses(outcome map[ref]error) {
	for r, err := range outcome {
		delete(c.refused, r)
		if err != nil {
			c.refused[r] = true
		}
	}
	c.status.refuses(outcome)
}

// settle makes the next live choice after touched changes, asks for what it
// names, and hands it on. The faults are those of touched resources only.
func (s *session) settle(touched []change) (faults []string) {
	c := s.client
	if replaced := replacements(&c.accepted, touched); replaced != nil {
		// Nothing is named that was not, so nothing else can change.
		next, in := c.live.replace(replaced, c.input)
		resources, err := c.goLive(next, func(version string) table.Input { in.Version = version; return in })
		if err != nil {
			return c.revert(touched, err)
		}
		c.hand(resources)
		return nil
	}
	chosen := choose(&c.accepted, c.live, func(r ref) bool { return c.waiting.givenUp[r] || c.refused[r] })
	resources, err := c.goLive(chosen.next, chosen.next.input)
	if err != nil {
		// Each resource was tried alone, so this is two of them that do not
		// go together in a way that choose does not know: take none of it.
		return c.revert(touched, err)
	}
	for _, t := range touched {
		if why := chosen.conflicts[t.name]; t.kind == listeners && why != "" {
			// It stays accepted, and goes live when the other one goes away.
			faults = append(faults, fmt.Sprintf("%s %q: %s", t.kind, t.name, why))
		}
	}
	for k := range kinds {
		if k.wildcard() && !c.seen[k] && !c.complete {
			chosen.missing[ref{k, ""}] = "the first configuration"
		}
	}
	c.waiting.update(chosen.missing, c.refused, time.Now())
	c.status.waits(chosen.missing, chosen.conflicts)
	if s.names(touched) {
		s.subscribe()
	}
	c.hand(resources)
	return faults
}

// goLive makes next the live choice, builds it if it is another than before, and
// returns what it is made of. An error leaves everything as it was.
func (c *Client) goLive(next *live, input func(version string) table.Input) ([]*resource, error) {
	resources := next.resources()
	newest := version(resources)
	if c.snapshot == nil || newest != c.snapshot.Version {
		in := input(newest)
		in.Before = c.snapshot
		snapshot, err := build(in)
		if err != nil {
			return nil, err
		}
		in.Before = nil // else every snapshot that ever was would be held
		c.snapshot, c.input = snapshot, in
	}
	c.live = next
	return resources, nil
}

// revert takes back the changes of a response.
func (c *Client) revert(touched []change, err error) []string {
	for _, t := range slices.Backward(touched) {
		c.accepted.restore(t.kind, t.name, t.before)
	}
	return []string{strings.ReplaceAll(err.Error(), "\n", "; ")}
}

// giveUp goes on without what was waited for long enough.
func (s *session) giveUp() {
	c := s.client
	late := c.waiting.expire(time.Now(), c.cfg.WarmTimeout)
	if len(late) == 0 {
		return
	}
	for _, r := range late {
		c.cfg.Log.Warn("going on without a resource that does not come", "type", r.kind.String(), "name", r.name)
	}
	if faults := s.settle(nil); len(faults) > 0 {
		c.cfg.Log.Error("configuration is not applied", "error", strings.Join(faults, "; "))
	}
}

// subscribe brings the subscriptions by name in line with what is named now, and
// forgets what nobody names.
func (s *session) subscribe() {
	c := s.client
	for _, k := range []kind{endpoints, routes} {
		wanted := c.live.wanted(&c.accepted, k)
		var more, fewer []string
		for name := range wanted {
			if !s.subscribed[k][name] {
				more = append(more, name)
			}
		}
		for name := range s.subscribed[k] {
			if !wanted[name] {
				fewer = append(fewer, name)
			}
		}
		c.forget(k, wanted)
		if len(more)+len(fewer) > 0 {
			slices.Sort(more)
			slices.Sort(fewer)
			s.ask(k, more, fewer)
		}
		s.subscribed[k] = wanted
	}
}

// forget drops the accepted resources of a kind that are not wanted.
func (c *Client) forget(k kind, wanted map[string]bool) {
	var dropped []change
	for name, r := range c.accepted[k] {
		if !wanted[name] {
			delete(c.accepted[k], name)
			dropped = append(dropped, change{k, name, r})
		}
	}
	c.status.holds(&c.accepted, dropped)
}

// maxFaults bounds how many faults one NACK lists, and the log: a control plane that
// sends rubbish must not fill the disk.
const maxFaults = 20

// answer queues the ACK, or the NACK when there are faults.
func (s *session) answer(r *discoveryv3.DeltaDiscoveryResponse, faults []string) {
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	if len(faults) > 0 {
		shown := faults[:min(len(faults), maxFaults)]
		if more := len(faults) - len(shown); more > 0 {
			shown = append(slices.Clone(shown), fmt.Sprintf("and %d more", more))
		}
		for _, f := range shown {
			s.client.cfg.Log.Warn("refused a resource of the control plane", "fault", f)
		}
		text := strings.Join(shown, "\n")
		req.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: text}
	}
	s.queue = append(s.queue, req)
}
