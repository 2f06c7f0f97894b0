package node

import (
	"maps"
	"runtime/debug"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// collector is the metrics of the node itself: the kernel side, the workloads
// and the build. Traffic, loops and xDS have their own.
type collector struct {
	node *node

	capture, balanced, workloads, captures, build *prometheus.Desc
}

func newCollector(n *node) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("culvert_"+name, help, labels, nil)
	}
	return &collector{node: n,
		capture:   desc("capture_total", "Ways out of the kernel hooks, by reason.", "reason"),
		balanced:  desc("capture_balanced_connections_total", "Connections that the kernel hook gave to an endpoint itself.", "service"),
		workloads: desc("workloads", "Workloads of this node, by whether they are enrolled.", "state"),
		captures:  desc("captures", "1 while new connections are redirected to this process."),
		build:     desc("build_info", "1, with the version of this program.", "version", "revision", "go"),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.capture, c.balanced, c.workloads, c.captures, c.build} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, label string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), label)
	}
	reasons, err := c.node.kernel.Counters()
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.capture, err)
	}
	for _, r := range reasons {
		counter(c.capture, r.Count, r.Reason)
	}
	services, err := c.node.balanced()
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.balanced, err)
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		counter(c.balanced, services[name], name)
	}
	enrolled, failed := 0, 0
	for _, s := range c.node.pods.States() {
		if s.ID != 0 {
			enrolled++
		} else {
			failed++
		}
	}
	gauge(c.workloads, float64(enrolled), "enrolled")
	gauge(c.workloads, float64(failed), "failed")
	alive := 0.0
	if c.node.alive.Load() {
		alive = 1
	}
	gauge(c.captures, alive)
	b := Build()
	gauge(c.build, 1, b.Version, b.Revision, b.Go)
}

// balanced adds up the connections that the hook balanced, by service.
func (n *node) balanced() (map[string]uint64, error) {
	counters, err := n.kernel.Balanced()
	if err != nil {
		return nil, err
	}
	services := map[string]uint64{}
	snapshot := n.server.Snapshot()
	for _, b := range counters {
		if s := snapshot.Service(b.Origin); s != nil {
			services[s.Name] += b.Count
		}
	}
	return services, nil
}

// BuildInfo says what this program was built from.
type BuildInfo struct {
	// Version is the module's; "(devel)" for a build from a working tree.
	Version string `json:"version"`
	// Revision is the commit, with "+dirty" when the tree was changed.
	Revision string `json:"revision"`
	Go       string `json:"go"`
}

// Build reads the build's own record.
func Build() BuildInfo {
	out := BuildInfo{Version: "unknown", Revision: "unknown", Go: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return out
	}
	out.Version, out.Go = info.Main.Version, info.GoVersion
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			out.Revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	out.Revision += dirty
	return out
}
