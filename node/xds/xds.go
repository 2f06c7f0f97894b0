// Package xds owns the node's side of the xDS protocol: the stream to a control
// plane, the resources that were accepted from it, and the one configuration
// that is assembled from them.
//
// It speaks incremental ADS v3. Listeners, clusters and workloads are asked for
// as wildcards, routes and endpoints by the names that listeners and clusters
// give. Each resource is decoded strictly: a field that is used and that Culvert
// does not support refuses that resource, whole, the response is NACKed with
// the resource's and the field's name, and the version that was there before
// stays. The other resources of the response are taken (gRFC A46, as Envoy does
// for LDS and CDS): one bad resource must not stop every other change. On the wire
// a NACK is of a response, not of a resource: it means "not all of it", its message
// has a line for each refused resource (kind "name": field: reason), and what it does
// not name is in use. A server need not send the response again: what was refused
// comes with its next version, or on the next stream, which is told the versions
// that were accepted (initial_resource_versions).
//
// What is handed to Apply is closed over references: a service goes live with
// its route and all its clusters, a cluster with its endpoints; until then their
// older versions stay. A removed cluster stays as long as a live route names it.
//
// It must not know capture, sockets of workloads or the proxy; it ends at a
// *table.Snapshot. node creates one Client and calls Run once; Status and
// Collect are safe from any goroutine.
package xds

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// Config is what a Client needs.
type Config struct {
	// Node is the node's name, given to the control plane as Node.id.
	Node string
	// Target is the control plane's address ("host:port", or any gRPC target).
	Target string
	// Dialer replaces the dialling of Target; nil: TCP.
	Dialer func(ctx context.Context, target string) (net.Conn, error)
	// StateDir holds the last good configuration; "" keeps none.
	StateDir string
	// Apply makes an update real. One call at a time, from one goroutine of
	// Run; updates that were overtaken are skipped. An update that returned an
	// error is tried again, with backoff, until it succeeds or a newer one comes.
	Apply func(ctx context.Context, u Update) error
	// WarmTimeout is how long a route waits for a cluster that does not come,
	// and a first configuration for types that the server does not send; 0: 15 s,
	// which is Envoy's initial_fetch_timeout.
	WarmTimeout time.Duration
	Log         *slog.Logger
}

// Update is one whole configuration, checked.
type Update struct {
	Snapshot *table.Snapshot
	// Workloads are this node's, sorted by ID.
	Workloads []Workload
	// resources is what Snapshot and Workloads were made of.
	resources []*resource
}

// maxMessage bounds one response of the control plane, in bytes.
const maxMessage = 64 << 20

// Client keeps a node's configuration in step with a control plane.
type Client struct {
	// set at construction
	cfg     Config
	updates chan Update // holds the newest only
	status  *ledger

	// owned by Run
	accepted set
	live     *live
	snapshot *table.Snapshot
	input    table.Input // what snapshot was built of
	waiting  waiting
	// refused are resources whose newest version on this stream was refused:
	// nobody waits for them, they have come.
	refused map[ref]bool
	// seen says which wildcard types were answered in this process's life.
	seen [kinds]bool
	// complete is set once a first whole configuration exists; nothing is
	// handed on before that, because applying a part of a configuration would
	// take away what a former process has set up.
	complete bool
	// handed is the version that was handed on last.
	handed string
}

// New returns a Client that does nothing until Run.
func New(cfg Config) (*Client, error) {
	if cfg.Apply == nil {
		return nil, fmt.Errorf("configure xds client: Apply is missing")
	}
	if cfg.Target == "" && cfg.Dialer == nil {
		return nil, fmt.Errorf("configure xds client: neither a target nor a dialer is given")
	}
	cfg.WarmTimeout = cmp.Or(cfg.WarmTimeout, 15*time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{
		cfg:      cfg,
		updates:  make(chan Update, 1),
		status:   newLedger(),
		accepted: newSet(),
		live:     newLive(),
		waiting:  newWaiting(),
		refused:  map[ref]bool{},
	}, nil
}

// Run keeps the stream up until ctx ends, and returns when every goroutine that
// it started has. The only errors are faults of the configuration of the client.
func (c *Client) Run(ctx context.Context) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	applied := make(chan struct{})
	go func() {
		defer close(applied)
		c.applyUpdates(ctx)
	}()
	defer func() { cancel(); <-applied }()

	c.restore()
	wait := backoff{base: 100 * time.Millisecond, max: 10 * time.Second}
	for ctx.Err() == nil {
		answered, err := c.session(ctx, conn)
		c.status.disconnected(err)
		if ctx.Err() != nil {
			break
		}
		// gRFC A9 (and Envoy): a stream that has delivered something may be
		// replaced at once; one that has not is a control plane in trouble.
		if answered {
			wait.reset()
		}
		pause := wait.next()
		c.cfg.Log.Warn("control plane stream ended", "error", err, "retry_in", pause)
		sleep(ctx, pause)
	}
	return nil
}

// dial prepares the connection; gRPC connects when the first stream opens.
func (c *Client) dial() (*grpc.ClientConn, error) {
	target := c.cfg.Target
	options := []grpc.DialOption{
		// Loopback and in-memory only today; mutual TLS comes with identities.
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		// 1,000 nodes that lose one control plane come back spread out.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           grpcbackoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.4, MaxDelay: 10 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		// Servers refuse pings more often than every 5 minutes unless told
		// otherwise; the timeout also becomes TCP_USER_TIMEOUT.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Minute, Timeout: 20 * time.Second}),
	}
	if c.cfg.Dialer != nil {
		options = append(options, grpc.WithContextDialer(c.cfg.Dialer))
		target = "passthrough:///" + cmp.Or(target, "control-plane")
	}
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, fmt.Errorf("configure xds client: %w", err)
	}
	return conn, nil
}

// backoff is exponential with jitter over the upper half, so that pauses grow
// but nodes do not march in step.
type backoff struct {
	base, max, current time.Duration
}

func (b *backoff) next() time.Duration {
	b.current = min(max(b.base, 2*b.current), b.max)
	half := b.current / 2
	return half + rand.N(half+1)
}

func (b *backoff) reset() { b.current = 0 }

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
