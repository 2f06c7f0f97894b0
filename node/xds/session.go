package xds

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// maxQueued stops reading responses while this many requests wait to be sent.
const maxQueued = 256

// session is one stream. Owned by Run's goroutine; two helpers move messages.
type session struct {
	client *Client
	// queue holds requests that the sender has not taken yet.
	queue []*discoveryv3.DeltaDiscoveryRequest
	// subscribed is what was asked for by name, per kind.
	subscribed [kinds]map[string]bool
	opened     [kinds]bool
	answered   bool
}

// session opens a stream and works on it until it ends. It reports whether the
// control plane said anything.
func (c *Client) session(ctx context.Context, conn *grpc.ClientConn) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx, grpc.WaitForReady(true))
	if err != nil {
		cancel()
		return false, fmt.Errorf("open the stream: %w", err)
	}
	in := make(chan *discoveryv3.DeltaDiscoveryResponse)
	out := make(chan *discoveryv3.DeltaDiscoveryRequest)
	ended := make(chan error, 2)
	go func() { ended <- receive(ctx, stream, in) }()
	go func() { ended <- send(ctx, stream, out) }()
	running := 2
	defer func() {
		cancel()
		for range running {
			<-ended
		}
	}()

	s := &session{client: c}
	s.begin()
	for {
		var next *discoveryv3.DeltaDiscoveryRequest
		from, to := in, out
		if len(s.queue) > 0 {
			next = s.queue[0]
		} else {
			to = nil
		}
		if len(s.queue) > maxQueued {
			from = nil
		}
		patience := c.patience()
		select {
		case r := <-from:
			s.answered = true
			s.handle(r)
		case to <- next:
			s.queue = s.queue[1:]
		case <-patience.C:
			s.giveUp()
		case err := <-ended:
			running--
			patience.Stop()
			return s.answered, err
		}
		patience.Stop()
	}
}

// receive hands on responses, one at a time, until the stream ends.
func receive(ctx context.Context, stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, to chan<- *discoveryv3.DeltaDiscoveryResponse) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		select {
		case to <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send is a goroutine of its own because Send blocks when the server does not
// read, and the server may not read while it waits for us to.
func send(ctx context.Context, stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, from <-chan *discoveryv3.DeltaDiscoveryRequest) error {
	for {
		select {
		case r := <-from:
			if err := stream.Send(r); err != nil {
				// The stream's own error comes from Recv; wait for that one.
				<-ctx.Done()
				return ctx.Err()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
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
	c.status.holds(&c.accepted)
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
	defer func() { c.status.refuses(outcome) }()
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

// settle makes the next live choice after touched changes, asks for what it
// names, and hands it on. The faults are those of touched resources only.
func (s *session) settle(touched []change) (faults []string) {
	c := s.client
	chosen := choose(&c.accepted, c.live, func(r ref) bool { return c.waiting.givenUp[r] })
	resources := chosen.next.resources()
	newest := version(resources)
	if c.snapshot == nil || newest != c.snapshot.Version {
		snapshot, err := build(chosen.next.input(newest))
		if err != nil {
			// Each resource was tried alone, so this is two of them that do not
			// go together in a way that choose does not know: take none of it.
			return append(faults, c.revert(touched, err)...)
		}
		c.snapshot = snapshot
	}
	c.live = chosen.next
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
	c.waiting.update(chosen.missing, time.Now())
	c.status.waits(chosen.missing, chosen.conflicts)
	s.subscribe()
	c.hand(resources)
	return faults
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
	if !c.waiting.expire(time.Now(), c.cfg.WarmTimeout) {
		return
	}
	for r := range c.waiting.givenUp {
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
		maps.DeleteFunc(c.accepted[k], func(name string, _ *resource) bool { return !wanted[name] })
		if len(more)+len(fewer) > 0 {
			slices.Sort(more)
			slices.Sort(fewer)
			s.ask(k, more, fewer)
		}
		s.subscribed[k] = wanted
	}
}

// maxFaults bounds how many faults one NACK lists.
const maxFaults = 20

// answer queues the ACK, or the NACK when there are faults.
func (s *session) answer(r *discoveryv3.DeltaDiscoveryResponse, faults []string) {
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	if len(faults) > 0 {
		for _, f := range faults {
			s.client.cfg.Log.Warn("refused a resource of the control plane", "fault", f)
		}
		shown := faults[:min(len(faults), maxFaults)]
		text := strings.Join(shown, "\n")
		if more := len(faults) - len(shown); more > 0 {
			text += fmt.Sprintf("\nand %d more", more)
		}
		req.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: text}
	}
	s.queue = append(s.queue, req)
}
