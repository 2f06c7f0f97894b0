package node

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-mesh/culvert/node/admin"
	"github.com/culvert-mesh/culvert/node/capture"
)

// adminConfig is what the ports of this node show.
func (n *node) adminConfig(p ports) admin.Config {
	return admin.Config{Admin: p.admin, Metrics: p.metrics, Gatherer: n.metrics, Ready: n.ready,
		Level: n.cfg.Level, Log: n.cfg.Log, Pages: append(n.pages(), n.cfg.Pages...)}
}

// pages are the node's views under /debug.
func (n *node) pages() []admin.Page {
	page := func(name, about string, dump func() any) admin.Page {
		return admin.Page{Name: name, About: about, Dump: func() (any, error) { return dump(), nil }}
	}
	return []admin.Page{
		page("config", "what this node was started with", n.dumpConfig),
		page("table", "services, rules and backends of the snapshot in use", func() any { return n.server.Snapshot().Dump() }),
		page("endpoints", "every backend's endpoints with their live counters", func() any { return n.server.Backends() }),
		page("breakers", "circuit breakers that are not closed", n.dumpBreakers),
		page("pools", "idle connections to endpoints, by loop", func() any { return n.server.Pools() }),
		page("xds", "versions, NACKs and what is waited for, by type", func() any { return n.client.Status() }),
		page("workloads", "pods of this node and whether they are enrolled", func() any { return n.pods.States() }),
		page("problems", "everything that is wrong with policy and workloads", n.dumpProblems),
		page("loops", "the reactor's loops: turns, load, lag, connections", func() any { return n.dumpLoops() }),
		{Name: "capture", About: "the kernel side: origins, reasons, balanced connections", Dump: n.dumpCapture},
	}
}

// configDump is Config for people.
type configDump struct {
	Build        BuildInfo `json:"build"`
	Name         string    `json:"node_name"`
	StateDir     string    `json:"state_dir"`
	BPFFS        string    `json:"bpffs"`
	CgroupRoot   string    `json:"cgroup_root"`
	Admin        string    `json:"admin"`
	Metrics      string    `json:"metrics"`
	Loops        int       `json:"loops"`
	DrainTimeout string    `json:"drain_timeout"`
	ControlPlane string    `json:"xds"`
}

func (n *node) dumpConfig() any {
	c := n.cfg
	return configDump{Build: Build(), Name: c.Name, StateDir: c.StateDir, BPFFS: c.BPFFS, CgroupRoot: c.CgroupRoot, Admin: c.Admin,
		Metrics: c.Metrics, Loops: c.Loops, DrainTimeout: c.DrainTimeout.String(), ControlPlane: c.ControlPlane}
}

// problemsDump is everything that needs a person's eye, one line each.
type problemsDump struct {
	Policy    []string `json:"policy"`
	Workloads []string `json:"workloads"`
	// Refused are resources of the control plane that this node cannot take.
	Refused []string `json:"refused"`
	// Waiting are resources that have not come, Conflicts services that cannot
	// go live beside others.
	Waiting   []string `json:"waiting"`
	Conflicts []string `json:"conflicts"`
	Apply     string   `json:"apply,omitempty"`
	// ControlPlane is why there is no stream to it; what was applied stays.
	ControlPlane string `json:"control_plane,omitempty"`
}

func (n *node) dumpProblems() any {
	s := n.client.Status()
	out := problemsDump{Policy: []string{}, Workloads: append([]string{}, n.pods.problems()...),
		Refused: s.Refused, Waiting: s.Waiting, Conflicts: s.Conflicts, Apply: s.ApplyError}
	if !s.Connected {
		out.ControlPlane = fmt.Sprintf("no stream since %s: %s", s.Since.Format(time.RFC3339), cmp.Or(s.LastError, "not connected yet"))
	}
	if n.cfg.Problems != nil {
		out.Policy = append(out.Policy, n.cfg.Problems()...)
	}
	slices.Sort(out.Policy)
	return out
}

// breakerDump is one endpoint whose breaker is not closed.
type breakerDump struct {
	Backend  string `json:"backend"`
	Endpoint string `json:"endpoint"`
	State    string `json:"state"`
	// ProbeIn is how long until one request may try it.
	ProbeIn             string `json:"probe_in"`
	ConsecutiveFailures uint32 `json:"consecutive_failures"`
	Ejections           uint32 `json:"ejections"`
}

func (n *node) dumpBreakers() any {
	out := []breakerDump{}
	now := n.group.Loop(0).Clock()
	for _, b := range n.server.Backends() {
		for _, e := range b.List {
			if e.Health == "closed" {
				continue
			}
			out = append(out, breakerDump{Backend: b.Backend, Endpoint: e.Address.String(), State: e.Health,
				ProbeIn:             time.Duration(max(0, e.ProbeAt-now)).Round(time.Millisecond).String(),
				ConsecutiveFailures: e.ConsecutiveFailures, Ejections: e.Ejections})
		}
	}
	return out
}

// loopDump is one loop's counters.
type loopDump struct {
	Loop         int    `json:"loop"`
	Turns        uint64 `json:"turns"`
	Events       uint64 `json:"events"`
	Panics       uint64 `json:"panics"`
	AcceptErrors uint64 `json:"accept_errors"`
	Busy         string `json:"busy"`
	Lag          string `json:"lag"`
	Connections  int64  `json:"connections"`
	Coroutines   int64  `json:"coroutines"`
	Idle         int64  `json:"idle_coroutines"`
}

func (n *node) dumpLoops() []loopDump {
	var out []loopDump
	for i, s := range n.group.Stats() {
		out = append(out, loopDump{Loop: i, Turns: s.Turns, Events: s.Events, Panics: s.Panics, AcceptErrors: s.AcceptErrors,
			Busy: s.Busy.Round(time.Millisecond).String(), Lag: s.Lag.Round(time.Microsecond).String(),
			Connections: s.Conns, Coroutines: s.Coroutines, Idle: s.IdleCoroutines})
	}
	return out
}

// captureDump is the kernel side.
type captureDump struct {
	// Alive says whether new connections are redirected to this process.
	Alive    bool              `json:"alive"`
	Reasons  map[string]uint64 `json:"reasons"`
	Balanced map[string]uint64 `json:"balanced_connections"`
	Origins  []originDump      `json:"origins"`
}

// originDump is one captured address.
type originDump struct {
	Origin  string `json:"origin"`
	Service string `json:"service"`
	Mode    string `json:"mode"`
	Stance  string `json:"stance"`
}

func (n *node) dumpCapture() (any, error) {
	counters, err := n.kernel.Counters()
	if err != nil {
		return nil, err
	}
	reasons := map[string]uint64{}
	for _, c := range counters {
		reasons[c.Reason] = c.Count
	}
	balanced, err := n.balanced()
	if err != nil {
		return nil, err
	}
	out := captureDump{Alive: n.alive.Load(), Reasons: reasons, Balanced: balanced, Origins: []originDump{}}
	snapshot := n.server.Snapshot()
	for _, o := range origins(snapshot) {
		service := snapshot.Service(o.Addr)
		mode := "proxy"
		if o.Mode == capture.ModeKernel {
			mode = "kernel"
		}
		out.Origins = append(out.Origins, originDump{Origin: o.Addr.String(), Service: service.Name, Mode: mode, Stance: service.Stance.String()})
	}
	return out, nil
}
