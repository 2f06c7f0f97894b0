// Package node is one node of the mesh: Run joins the kernel side (capture), the
// data path (proxy), the stream to the control plane (xds) and the admin ports
// (admin), and nothing else imports both halves. It owns the order in which a
// configuration becomes real, which pods are enrolled, and how the process
// starts and ends. It must not know where policy comes from: it is given an
// address or a dialer. main calls Run once.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/culvert-mesh/culvert/node/admin"
	"github.com/culvert-mesh/culvert/node/capture"
	"github.com/culvert-mesh/culvert/node/xds"
	"github.com/culvert-mesh/culvert/proxy"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// Config is what one node is started with.
type Config struct {
	// Name is the node's name, by which the control plane knows it.
	Name string
	// StateDir holds the last good configuration; "" keeps none.
	StateDir string
	// BPFFS is the directory of the pins, CgroupRoot the cgroup2 directory that
	// holds the pods; "": see capture.Config.
	BPFFS, CgroupRoot string
	// Admin and Metrics are addresses to listen on; "" opens no such port.
	Admin, Metrics string
	// Loops is the number of reactor loops; 0: one per CPU.
	Loops int
	// DrainTimeout is how long existing connections may go on after a stop.
	DrainTimeout time.Duration
	// ControlPlane is the control plane's address; Dialer replaces dialling it.
	ControlPlane string
	Dialer       func(ctx context.Context, address string) (net.Conn, error)
	// Pages are further pages of the admin port, from the process's other parts.
	Pages []admin.Page
	// Problems lists what is wrong with the policy, one line each, for
	// /debug/problems; nil: the control plane is elsewhere.
	Problems func() []string
	// Level is the log level, which the admin port can set; nil: it cannot.
	Level *slog.LevelVar
	Log   *slog.Logger
}

// node is one running node.
type node struct {
	// set at construction
	cfg       Config
	kernel    *capture.Capture
	group     *reactor.Group
	telemetry *telemetry.Registry
	server    *proxy.Server
	pods      *pods
	client    *xds.Client
	metrics   *prometheus.Registry

	// alive is set while the kernel side should redirect to this process: from
	// the first applied configuration to the start of the drain.
	alive atomic.Bool
	// version is of the configuration that is applied; "" before the first.
	version atomic.Pointer[string]
}

// Run serves until ctx ends, then drains and returns. Pins, links and maps stay,
// so that the stance of each service holds until the next start; see Uninstall.
func Run(ctx context.Context, cfg Config) (err error) {
	if cfg.Loops == 0 {
		cfg.Loops = runtime.NumCPU()
	}
	if err := checkHost(cfg); err != nil {
		return err
	}
	tune(cfg)
	// Ports first: a second node on this host must fail before it takes the
	// pins over from the first.
	ports, err := listen(cfg)
	if err != nil {
		return err
	}
	defer ports.close()
	kernel, err := capture.Open(capture.Config{BPFFS: cfg.BPFFS, CgroupRoot: cfg.CgroupRoot, Loops: cfg.Loops, Log: cfg.Log})
	if err != nil {
		return explainCapture(err)
	}
	defer func() { err = errors.Join(err, kernel.Close()) }()
	n, err := build(cfg, kernel)
	if err != nil {
		return err
	}
	return n.run(ctx, ports)
}

// Uninstall removes every trace of Culvert from the host; workloads' connections
// go straight to their origins afterwards. Nothing there is no error.
func Uninstall(cfg Config) error {
	if err := checkRoot(); err != nil {
		return err
	}
	err := capture.Uninstall(capture.Config{BPFFS: cfg.BPFFS, CgroupRoot: cfg.CgroupRoot, Loops: 1, Log: cfg.Log})
	if err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	return xds.RemoveState(cfg.StateDir)
}

// build makes the parts; none of them runs yet.
func build(cfg Config, kernel *capture.Capture) (*node, error) {
	n := &node{cfg: cfg, kernel: kernel, metrics: prometheus.NewRegistry()}
	var err error
	n.group, err = reactor.New(reactor.Config{Loops: cfg.Loops, Tick: n.tick, Panicked: n.panicked})
	if err != nil {
		return nil, fmt.Errorf("make the loops: %w", err)
	}
	n.telemetry = telemetry.NewRegistry(n.group.Len(), cfg.Log)
	n.server, err = proxy.New(proxy.Config{Group: n.group, Origins: kernel, Dialer: kernel, Telemetry: n.telemetry, Logger: cfg.Log})
	if err != nil {
		return nil, err
	}
	n.pods = newPods(kernel, n.server, cfg)
	n.client, err = xds.New(xds.Config{Node: cfg.Name, Target: cfg.ControlPlane, Dialer: cfg.Dialer,
		StateDir: cfg.StateDir, Apply: n.apply, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	n.metrics.MustRegister(n.telemetry, n.server, n.client.Collector(), newCollector(n),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return n, nil
}

// tick is the heartbeat, on each loop: without it the kernel side applies
// stances. It starts with the first applied configuration.
func (n *node) tick(loop int, _ int64) {
	if n.alive.Load() {
		n.kernel.Beat(loop)
	}
}

func (n *node) panicked(loop int, v any, stack []byte) {
	n.telemetry.Note(slog.LevelError, "a connection ended in a panic",
		slog.Int("loop", loop), slog.String("panic", fmt.Sprint(v)), slog.String("stack", string(stack)))
}

// ready is nil when a configuration is applied and every loop answers.
func (n *node) ready(ctx context.Context) error {
	if n.version.Load() == nil {
		return errors.New("no configuration has been applied yet")
	}
	if !n.alive.Load() {
		return errors.New("draining")
	}
	answers := make(chan int, n.group.Len())
	for i := range n.group.Len() {
		if !n.group.Loop(i).Post(func() { answers <- i }) {
			return fmt.Errorf("loop %d has ended", i)
		}
	}
	for answered := range n.group.Len() {
		select {
		case <-answers:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d loops did not answer", n.group.Len()-answered, n.group.Len())
		}
	}
	return nil
}
