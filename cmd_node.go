package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/culvert-mesh/culvert/controlplane"
	"github.com/culvert-mesh/culvert/node"
	"github.com/culvert-mesh/culvert/node/admin"
)

const aboutNode = `Captures the connections of this node's enrolled pods and proxies them, as the
policy in a directory says (--policy), or as a control plane elsewhere says
(--xds). SIGTERM drains and ends it; what it put into the kernel stays, so that
each service's stance holds until the next start. --uninstall removes it.

GOGC (default 150 here) and GOMEMLIMIT of the environment are obeyed as by any
Go program.`

// nodeFlags are the flags of culvert node.
type nodeFlags struct {
	config    node.Config
	policy    string
	level     slog.LevelVar
	uninstall bool
}

func (n *nodeFlags) define(f *flag.FlagSet) {
	host, _ := os.Hostname()
	c := &n.config
	f.StringVar(&n.policy, "policy", "", "`directory` of Kubernetes YAML, watched; runs the control plane in this process")
	f.StringVar(&c.ControlPlane, "xds", "", "`address` (host:port) of a control plane elsewhere, instead of --policy; not encrypted: loopback or a trusted network only")
	f.StringVar(&c.Name, "node-name", host, "`name` of this node in Pod objects (spec.nodeName)")
	f.StringVar(&c.StateDir, "state-dir", "/var/lib/culvert", "`directory` for the last good configuration, which a start without a control plane uses; empty: keep none")
	f.StringVar(&c.BPFFS, "bpffs", "/sys/fs/bpf/culvert", "`directory` for the pinned programs and maps; a bpffs is mounted where there is none")
	f.StringVar(&c.CgroupRoot, "cgroup-root", "", "cgroup2 `directory` that holds the pods (default: the kubepods cgroup, else the cgroup2 mount)")
	f.StringVar(&c.Admin, "admin", "127.0.0.1:15000", "`address` of the admin port (health, /debug, profiles); it has no password, keep it on loopback; empty: none")
	f.StringVar(&c.Metrics, "metrics", "", "`address` of a port for /metrics only (default: none; /metrics is on the admin port too)")
	f.IntVar(&c.Loops, "loops", 0, "`number` of event loops, 1 to 128 (default: one per CPU)")
	f.DurationVar(&c.DrainTimeout, "drain-timeout", 30*time.Second, "how long connections may go on after SIGTERM, and after their pod has left the mesh, such as 30s")
	f.TextVar(&n.level, "log-level", &n.level, "`level` of the log: debug, info, warn or error; /debug/log on the admin port changes it")
	f.BoolVar(&n.uninstall, "uninstall", false, "remove everything from the kernel and the state directory, and end")
}

// check finds what is wrong with the flags together.
func (n *nodeFlags) check() error {
	c := &n.config
	switch {
	case c.Loops < 0 || c.Loops > 128:
		return usageError{fmt.Sprintf("--loops is %d, not between 1 and 128", c.Loops)}
	case c.DrainTimeout < 0:
		return usageError{fmt.Sprintf("--drain-timeout is %v, less than 0", c.DrainTimeout)}
	case n.uninstall:
		return nil
	case n.policy == "" && c.ControlPlane == "":
		return usageError{"one of --policy and --xds is needed: a directory of policy, or the address of a control plane"}
	case n.policy != "" && c.ControlPlane != "":
		return usageError{"--policy and --xds exclude each other"}
	case c.Name == "":
		return usageError{"--node-name is empty, and the host has no name"}
	case n.policy != "":
		return isDirectory(n.policy)
	}
	return nil
}

// isDirectory says what is wrong with a policy directory.
func isDirectory(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	if err != nil {
		return fmt.Errorf("--policy %s: %w", path, err)
	}
	return nil
}

func runNode(ctx context.Context, args []string, to streams) error {
	var flags nodeFlags
	f := newFlags("node", "[flags]", aboutNode, to)
	flags.define(f)
	if err := parse(f, args, 0); err != nil {
		return err
	}
	if err := flags.check(); err != nil {
		return err
	}
	flags.config.Level = &flags.level
	flags.config.Log = newLog(to.err, &flags.level)
	switch {
	case flags.uninstall:
		return node.Uninstall(flags.config)
	case flags.policy == "":
		return node.Run(ctx, flags.config)
	}
	return runStandalone(ctx, flags.config, flags.policy)
}

func newLog(w io.Writer, level *slog.LevelVar) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// runStandalone runs a control plane and a node that meet over an in-memory
// listener, by the same protocol as over a network.
func runStandalone(ctx context.Context, cfg node.Config, policy string) error {
	listener, dialer := node.Pipe()
	cfg.Dialer = dialer
	var status controlplane.Status
	cfg.Problems = func() []string {
		lines := []string{}
		for _, p := range status.Problems() {
			lines = append(lines, p.Long())
		}
		return lines
	}
	cfg.Pages = append(cfg.Pages, admin.Page{Name: "controlplane", About: "the control plane in this process: policy it serves and to whom",
		Dump: func() (any, error) { return dumpControlPlane(policy, &status), nil }})
	// The control plane outlives the node's stop, not the node.
	ours, stop := context.WithCancel(context.WithoutCancel(ctx))
	nodes, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	served := make(chan error, 1)
	go func() {
		err := controlplane.Run(ours, controlplane.Config{PolicyDir: policy, Listener: listener, Log: cfg.Log, Status: &status})
		if err != nil {
			err = fmt.Errorf("control plane: %w", err)
		}
		served <- err
		fail(err)
	}()
	err := node.Run(nodes, cfg)
	stop()
	return errors.Join(err, <-served)
}

// controlPlaneDump is /debug/controlplane.
type controlPlaneDump struct {
	Policy     string    `json:"policy"`
	Generation uint64    `json:"generation"`
	Read       time.Time `json:"read"`
	Nodes      any       `json:"nodes"`
	Totals     any       `json:"totals"`
	Problems   []string  `json:"problems"`
}

func dumpControlPlane(policy string, s *controlplane.Status) controlPlaneDump {
	d := controlPlaneDump{Policy: policy, Nodes: s.Nodes(), Totals: s.Totals(), Problems: []string{}}
	d.Generation, d.Read = s.Applied()
	for _, p := range s.Problems() {
		d.Problems = append(d.Problems, p.Long())
	}
	return d
}
