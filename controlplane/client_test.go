package controlplane_test

import (
	"context"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	culvertv1 "github.com/culvert-mesh/culvert/api/v1"
	"github.com/culvert-mesh/culvert/controlplane"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

const patience = 10 * time.Second

// plane is a running control plane on a directory of its own.
type plane struct {
	t        *testing.T
	dir      string
	listener *bufconn.Listener
	status   *controlplane.Status
	stop     func() error
}

func start(t *testing.T, dir string) *plane {
	ctx, cancel := context.WithCancel(context.Background())
	p := &plane{t: t, dir: dir, listener: bufconn.Listen(1 << 20), status: &controlplane.Status{}}
	ended := make(chan error, 1)
	go func() {
		ended <- controlplane.Run(ctx, controlplane.Config{PolicyDir: dir, Listener: p.listener, Status: p.status})
	}()
	p.stop = func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return p
}

// write replaces a file as a careful editor does: by renaming.
func (p *plane) write(name, text string) {
	p.t.Helper()
	writeFile(p.t, p.dir, name, text)
}

func writeFile(t testing.TB, dir, name, text string) {
	t.Helper()
	aside := filepath.Join(dir, "."+name+".new")
	if err := os.WriteFile(aside, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// node is a client of delta ADS that takes everything and acknowledges it.
type node struct {
	t      *testing.T
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	conn   *grpc.ClientConn
	// has is the version of every resource, by type URL and name.
	has map[string]map[string]string
	// order is the type of every response with something in it.
	order []string
	// refuse, where it is set, is the reason of a NACK.
	refuse func(*discoveryv3.DeltaDiscoveryResponse) string
}

// connect opens a stream; has is what the node brings along, nil for nothing.
func (p *plane) connect(name string, has map[string]map[string]string) *node {
	p.t.Helper()
	conn, err := grpc.NewClient("passthrough:///bufconn",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.listener.DialContext(ctx) }))
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p.t.Cleanup(func() { cancel(); conn.Close() })
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	n := &node{t: p.t, stream: stream, conn: conn, has: map[string]map[string]string{}}
	for _, typeURL := range []string{resource.EndpointType, resource.ClusterType, resource.RouteType,
		resource.ListenerType, culvertv1.WorkloadType} {
		n.has[typeURL] = maps.Clone(has[typeURL])
		if n.has[typeURL] == nil {
			n.has[typeURL] = map[string]string{}
		}
		n.send(&discoveryv3.DeltaDiscoveryRequest{
			Node: &corev3.Node{Id: name}, TypeUrl: typeURL,
			ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: maps.Clone(n.has[typeURL]),
		})
	}
	return n
}

func (n *node) send(r *discoveryv3.DeltaDiscoveryRequest) {
	n.t.Helper()
	// EOF: the stream has ended; Recv has the reason.
	if err := n.stream.Send(r); err != nil && err != io.EOF {
		n.t.Fatal(err)
	}
}

// next takes one response and answers it.
func (n *node) next() *discoveryv3.DeltaDiscoveryResponse {
	n.t.Helper()
	r, err := n.stream.Recv()
	if err != nil {
		n.t.Fatalf("receive: %v; has %v", err, n.has)
	}
	answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	if n.refuse != nil {
		if reason := n.refuse(r); reason != "" {
			answer.ErrorDetail = &rpcstatus.Status{Code: 3, Message: reason}
		}
	}
	if len(r.GetResources())+len(r.GetRemovedResources()) > 0 {
		n.order = append(n.order, r.GetTypeUrl())
	}
	for _, res := range r.GetResources() {
		n.has[r.GetTypeUrl()][res.GetName()] = res.GetVersion()
	}
	for _, name := range r.GetRemovedResources() {
		delete(n.has[r.GetTypeUrl()], name)
	}
	n.send(answer)
	return r
}

// until takes responses until cond holds.
func (n *node) until(cond func() bool) {
	n.t.Helper()
	for !cond() {
		n.next()
	}
}

// first takes the first response of each of the five types.
func (n *node) first() (sent int) {
	n.t.Helper()
	for seen := map[string]bool{}; len(seen) < len(n.has); {
		r := n.next()
		seen[r.GetTypeUrl()] = true
		sent += len(r.GetResources())
	}
	return sent
}

func (n *node) names(typeURL string) string {
	return strings.Join(slices.Sorted(maps.Keys(n.has[typeURL])), " ")
}
