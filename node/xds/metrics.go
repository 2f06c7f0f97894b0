package xds

import (
	"hash/fnv"

	"github.com/prometheus/client_golang/prometheus"
)

// descs are the metrics of a Client.
type descs struct {
	connected, responses, nacks, resources, version, applied, waiting *prometheus.Desc
}

// Collector returns the client's metrics for a registry. Any goroutine.
func (c *Client) Collector() prometheus.Collector {
	one := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("culvert_xds_"+name, help, labels, nil)
	}
	return &collector{client: c, descs: descs{
		connected: one("connected", "1 while the stream to the control plane is open."),
		responses: one("responses_total", "Responses of the control plane, by type of resource.", "type"),
		nacks:     one("nacks_total", "Responses that were refused in part or whole, by type of resource.", "type"),
		resources: one("resources", "Resources that are held, by type.", "type"),
		version:   one("version_hash", "Hash of the control plane's version of each type; /debug/xds has the text.", "type"),
		applied:   one("applied_timestamp_seconds", "When the configuration in use was applied, Unix time; 0: never."),
		waiting:   one("waiting_resources", "Resources that are named by others and have not come."),
	}}
}

type collector struct {
	client *Client
	descs
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.connected, c.responses, c.nacks, c.resources, c.version, c.applied, c.waiting} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	s := c.client.Status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(c.connected, map[bool]float64{true: 1}[s.Connected])
	gauge(c.waiting, float64(len(s.Waiting)))
	applied := 0.0
	if !s.AppliedAt.IsZero() {
		applied = float64(s.AppliedAt.UnixMilli()) / 1e3
	}
	gauge(c.applied, applied)
	for _, t := range s.Types {
		to <- prometheus.MustNewConstMetric(c.responses, prometheus.CounterValue, float64(t.Responses), t.Type)
		to <- prometheus.MustNewConstMetric(c.nacks, prometheus.CounterValue, float64(t.NACKs), t.Type)
		gauge(c.resources, float64(len(t.Resources)), t.Type)
		// As Envoy shows versions: a float64 holds 53 bits of a hash exactly.
		h := fnv.New64a()
		h.Write([]byte(t.Version))
		gauge(c.version, float64(h.Sum64()>>11), t.Type)
	}
}
