package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/culvert-mesh/culvert/node/admin"
)

// ports are the open listeners of the admin and metrics ports; each may be nil.
type ports struct{ admin, metrics net.Listener }

func listen(cfg Config) (ports, error) {
	var p ports
	var err error
	if cfg.Admin != "" {
		if p.admin, err = net.Listen("tcp", cfg.Admin); err != nil {
			return p, fmt.Errorf("open the admin port: %w (is another node running? --admin sets another address)", err)
		}
	}
	if cfg.Metrics != "" && cfg.Metrics != cfg.Admin {
		if p.metrics, err = net.Listen("tcp", cfg.Metrics); err != nil {
			p.close()
			return p, fmt.Errorf("open the metrics port: %w (--metrics sets another address)", err)
		}
	}
	return p, nil
}

// close is harmless after admin.Run has closed them.
func (p ports) close() {
	for _, l := range []net.Listener{p.admin, p.metrics} {
		if l != nil {
			l.Close()
		}
	}
}

// part is a goroutine of the node that runs until it is stopped.
type part struct {
	name string
	stop context.CancelFunc
	done chan error
}

// start runs f; over gets the part when it ends by itself.
func start(name string, over chan<- string, f func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{name: name, stop: cancel, done: make(chan error, 1)}
	go func() {
		err := f(ctx)
		p.done <- err
		if ctx.Err() == nil {
			over <- name
		}
	}()
	return p
}

// end stops the part and waits for it.
func (p *part) end() error {
	p.stop()
	if err := <-p.done; err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// run starts the parts in the order in which they need each other, waits for
// the end of ctx (or of a part, which is a fault), and ends them backwards.
func (n *node) run(ctx context.Context, ports ports) error {
	over := make(chan string, 8)
	parts := []*part{
		start("proxy", over, n.server.Run), // before the loops, because it logs for them
		start("loops", over, n.group.Run),
		start("workloads", over, n.pods.run),
		start("admin", over, func(ctx context.Context) error { return admin.Run(ctx, n.adminConfig(ports)) }),
		start("xds", over, n.client.Run),
	}
	n.cfg.Log.Info("node started", "name", n.cfg.Name, "loops", n.group.Len(), "admin", n.cfg.Admin, "metrics", n.cfg.Metrics)
	var errs []error
	select {
	case <-ctx.Done():
	case name := <-over:
		errs = append(errs, fmt.Errorf("%s ended by itself", name))
	}
	// The stream first: nothing is applied while connections drain.
	last := len(parts) - 1
	errs = append(errs, parts[last].end())
	n.drain()
	for i := last - 1; i >= 0; i-- {
		errs = append(errs, parts[i].end())
	}
	n.cfg.Log.Info("node stopped")
	return errors.Join(errs...)
}

// handOver is how long after the last heartbeat the kernel side still redirects
// (200 ms), and some slack: until then new connections arrive, and are served.
const handOver = 300 * time.Millisecond

// drain lets connections come to their end.
func (n *node) drain() {
	if !n.alive.Swap(false) {
		return
	}
	n.cfg.Log.Info("draining", "connections", n.server.Connections(), "timeout", n.cfg.DrainTimeout)
	time.Sleep(handOver)
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.DrainTimeout)
	defer cancel()
	if err := n.server.Drain(ctx); err != nil {
		n.cfg.Log.Warn("connections were cut", "left", n.server.Connections(), "timeout", n.cfg.DrainTimeout)
	}
}
