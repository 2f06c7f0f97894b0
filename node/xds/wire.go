package xds

import (
	"context"
	"fmt"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
)

// stream is the client's end of an incremental ADS stream.
type stream = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient

// wire moves a stream's messages to and from channels: a session must be able to
// wait for either, and Send blocks while the server does not read, which it may
// not do while it waits for us to.
type wire struct {
	in     chan *discoveryv3.DeltaDiscoveryResponse
	out    chan *discoveryv3.DeltaDiscoveryRequest
	ended  chan error    // the stream's end
	sent   chan struct{} // closed when the sender is gone
	cancel context.CancelFunc
}

// openWire waits for a connection and opens a stream on it.
func openWire(ctx context.Context, conn *grpc.ClientConn) (*wire, error) {
	ctx, cancel := context.WithCancel(ctx)
	st, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx, grpc.WaitForReady(true))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open the stream: %w", err)
	}
	w := &wire{
		in:  make(chan *discoveryv3.DeltaDiscoveryResponse),
		out: make(chan *discoveryv3.DeltaDiscoveryRequest),
		// Held until the session looks, which it may do only on close.
		ended:  make(chan error, 1),
		sent:   make(chan struct{}),
		cancel: cancel,
	}
	go w.receive(ctx, st)
	go w.send(ctx, st)
	return w, nil
}

// close ends the stream and waits for both goroutines.
func (w *wire) close() {
	w.cancel()
	for range w.ended {
	}
	<-w.sent
}

// receive hands on responses, one at a time, until the stream ends.
func (w *wire) receive(ctx context.Context, st stream) {
	defer close(w.ended)
	for {
		r, err := st.Recv()
		if err != nil {
			w.ended <- fmt.Errorf("receive: %w", err)
			return
		}
		select {
		case w.in <- r:
		case <-ctx.Done():
			w.ended <- ctx.Err()
			return
		}
	}
}

// send sends until the stream ends. Its own errors say nothing: a broken stream's
// reason comes from Recv.
func (w *wire) send(ctx context.Context, st stream) {
	defer close(w.sent)
	for {
		select {
		case r := <-w.out:
			if st.Send(r) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
