package xds

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// scripted is a control plane whose every message is written by the test.
type scripted struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	t        *testing.T
	listener *bufconn.Listener
	server   *grpc.Server
	streams  chan *scriptedStream
}

// scriptedStream is one stream of the client.
type scriptedStream struct {
	t        *testing.T
	requests chan *discoveryv3.DeltaDiscoveryRequest
	stream   discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	end      chan error
	nonce    int
}

// startScripted must be called, and stopped, inside of the synctest bubble.
func startScripted(t *testing.T) *scripted {
	s := &scripted{t: t, listener: bufconn.Listen(1 << 20), server: grpc.NewServer(), streams: make(chan *scriptedStream, 16)}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s.server, s)
	go s.server.Serve(s.listener)
	return s
}

func (s *scripted) dial(ctx context.Context, _ string) (net.Conn, error) {
	return s.listener.DialContext(ctx)
}

// DeltaAggregatedResources hands the stream to the test and lives until it ends it.
func (s *scripted) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	x := &scriptedStream{t: s.t, requests: make(chan *discoveryv3.DeltaDiscoveryRequest, 100), stream: stream, end: make(chan error, 1)}
	go func() {
		defer close(x.requests)
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			x.requests <- r
		}
	}()
	s.streams <- x
	select {
	case err := <-x.end:
		return err
	case <-stream.Context().Done():
		return nil
	}
}

// idle waits until the client has nothing left to do.
func idle() { synctest.Wait() }

// drain returns what the client has sent so far.
func (x *scriptedStream) drain() []*discoveryv3.DeltaDiscoveryRequest {
	idle()
	var out []*discoveryv3.DeltaDiscoveryRequest
	for {
		select {
		case r, ok := <-x.requests:
			if !ok {
				return out
			}
			out = append(out, r)
		default:
			return out
		}
	}
}

// push sends resources of one kind and returns the answer to that response.
func (x *scriptedStream) push(k kind, resources []proto.Message, removed ...string) *discoveryv3.DeltaDiscoveryRequest {
	x.t.Helper()
	x.nonce++
	r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURLs[k], Nonce: fmt.Sprint(x.nonce),
		SystemVersionInfo: fmt.Sprintf("v%d", x.nonce), RemovedResources: removed}
	for _, m := range resources {
		r.Resources = append(r.Resources, wrap(x.t, m, r.SystemVersionInfo))
	}
	if err := x.stream.Send(r); err != nil {
		x.t.Fatalf("send: %v", err)
	}
	for _, q := range x.drain() {
		if q.GetResponseNonce() == r.Nonce {
			return q
		}
	}
	x.t.Fatalf("no answer to the response of %s", k)
	return nil
}

// ack pushes and wants no complaint.
func (x *scriptedStream) ack(k kind, resources []proto.Message, removed ...string) {
	x.t.Helper()
	if e := x.push(k, resources, removed...).GetErrorDetail(); e != nil {
		x.t.Fatalf("NACK: %s", e.GetMessage())
	}
}

func wrap(t *testing.T, m proto.Message, version string) *discoveryv3.Resource {
	t.Helper()
	body, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return &discoveryv3.Resource{Name: nameOf(m), Version: version, Resource: body}
}

func nameOf(m proto.Message) string {
	switch m := m.(type) {
	case interface{ GetUid() string }:
		return m.GetUid()
	case interface{ GetClusterName() string }:
		return m.GetClusterName()
	case interface{ GetName() string }:
		return m.GetName()
	}
	panic("no name")
}
