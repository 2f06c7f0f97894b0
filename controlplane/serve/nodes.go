package serve

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Node is one connected node, for a person or a metric to read.
type Node struct {
	// ID is the node's name, Peer its address.
	ID   string `json:"id"`
	Peer string `json:"peer"`
	// Since is when the stream was opened.
	Since time.Time `json:"since"`
	// Types are sorted by Type.
	Types []NodeType `json:"types"`
}

// NodeType is the state of one resource type on a node's stream.
type NodeType struct {
	// Type is the message's name without its package, such as Cluster.
	Type string `json:"type"`
	// Sent and Acked count responses; Acked == Sent: the node is up to date.
	Sent  uint64 `json:"sent"`
	Acked uint64 `json:"acked"`
	// Nacks counts refusals, NackMessage and NackTime are the last one's. The
	// message stays after the node has accepted a later response.
	Nacks       uint64    `json:"nacks"`
	NackMessage string    `json:"nackMessage,omitempty"`
	NackTime    time.Time `json:"nackTime,omitzero"`
}

// Totals are counters over all nodes since the start, for metrics.
type Totals struct {
	Streams   uint64 `json:"streams"`
	Responses uint64 `json:"responses"`
	Acks      uint64 `json:"acks"`
	Nacks     uint64 `json:"nacks"`
}

// nodes keeps the state of every stream. It is bounded by the streams.
type nodes struct {
	log *slog.Logger

	mu      sync.Mutex
	streams map[int64]*stream // guarded by mu
	totals  Totals            // guarded by mu
}

type stream struct {
	node  Node
	types map[string]*NodeType // by type URL
	// named says that the first request, which names the node, has come.
	named bool
}

func newNodes(log *slog.Logger) *nodes {
	return &nodes{log: log, streams: map[int64]*stream{}}
}

func (n *nodes) list() []Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]Node, 0, len(n.streams))
	for _, s := range n.streams {
		node := s.node
		node.Types = nil
		for _, t := range s.types {
			node.Types = append(node.Types, *t)
		}
		slices.SortFunc(node.Types, func(a, b NodeType) int { return cmp.Compare(a.Type, b.Type) })
		out = append(out, node)
	}
	slices.SortFunc(out, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), a.Since.Compare(b.Since), cmp.Compare(a.Peer, b.Peer))
	})
	return out
}

func (n *nodes) counted() Totals {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.totals
}

func (n *nodes) open(id int64, remote string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.totals.Streams++
	n.streams[id] = &stream{node: Node{Peer: remote, Since: time.Now()}, types: map[string]*NodeType{}}
}

// close forgets a stream and returns its node's name.
func (n *nodes) close(id int64) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.streams[id]
	delete(n.streams, id)
	if s == nil {
		return ""
	}
	return s.node.ID
}

// request takes in an ACK, a NACK or a subscription.
func (n *nodes) request(id int64, r *discoveryv3.DeltaDiscoveryRequest) error {
	n.mu.Lock()
	s := n.streams[id]
	if !s.named {
		s.node.ID = r.GetNode().GetId()
		if s.node.ID == "" {
			n.mu.Unlock()
			return status.Error(codes.InvalidArgument, "the first request must carry node.id")
		}
		s.named = true
	}
	of, nack := s.of(r.GetTypeUrl()), r.GetErrorDetail()
	switch {
	case nack != nil:
		n.totals.Nacks++
		of.Nacks++
		of.NackMessage, of.NackTime = nack.GetMessage(), time.Now()
	case r.GetResponseNonce() != "":
		n.totals.Acks++
		of.Acked++
	}
	node := s.node.ID
	n.mu.Unlock()
	if nack != nil {
		n.log.Warn("node refuses configuration", "node", node, "type", of.Type, "reason", nack.GetMessage())
	}
	return nil
}

func (n *nodes) response(id int64, r *discoveryv3.DeltaDiscoveryResponse) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.totals.Responses++
	n.streams[id].of(r.GetTypeUrl()).Sent++
}

// of is the state of a type; the lock is held.
func (s *stream) of(typeURL string) *NodeType {
	t := s.types[typeURL]
	if t == nil {
		t = &NodeType{Type: typeURL[strings.LastIndexByte(typeURL, '.')+1:]}
		s.types[typeURL] = t
	}
	return t
}

// callbacks hears what happens on delta streams; the other protocols are refused
// by caches, and end here without a word.
type callbacks struct {
	nodes  *nodes
	caches *caches
}

func (c *callbacks) OnDeltaStreamOpen(ctx context.Context, id int64, _ string) error {
	remote := ""
	if p, ok := peer.FromContext(ctx); ok {
		remote = p.Addr.String()
	}
	c.nodes.open(id, remote)
	return nil
}

func (c *callbacks) OnDeltaStreamClosed(id int64, _ *corev3.Node) {
	c.caches.forget(c.nodes.close(id))
}

func (c *callbacks) OnStreamDeltaRequest(id int64, r *discoveryv3.DeltaDiscoveryRequest) error {
	return c.nodes.request(id, r)
}

func (c *callbacks) OnStreamDeltaResponse(id int64, _ *discoveryv3.DeltaDiscoveryRequest, r *discoveryv3.DeltaDiscoveryResponse) {
	c.nodes.response(id, r)
}

func (c *callbacks) OnStreamOpen(context.Context, int64, string) error          { return nil }
func (c *callbacks) OnStreamClosed(int64, *corev3.Node)                         {}
func (c *callbacks) OnStreamRequest(int64, *discoveryv3.DiscoveryRequest) error { return errDeltaOnly }
func (c *callbacks) OnFetchRequest(context.Context, *discoveryv3.DiscoveryRequest) error {
	return errDeltaOnly
}
func (c *callbacks) OnFetchResponse(*discoveryv3.DiscoveryRequest, *discoveryv3.DiscoveryResponse) {}
func (c *callbacks) OnStreamResponse(context.Context, int64, *discoveryv3.DiscoveryRequest, *discoveryv3.DiscoveryResponse) {
}
