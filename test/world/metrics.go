package world

import (
	"fmt"
	"sort"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics is one scrape.
type Metrics map[string]*dto.MetricFamily

// ParseMetrics reads the Prometheus text format.
func ParseMetrics(text string) (Metrics, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("parse metrics: %w", err)
	}
	return families, nil
}

// Sum adds up the samples of a metric whose labels hold all of the given
// name-value pairs: Sum("proxy_requests_total", "status", "200"). Of a
// histogram it is the number of observations. 0 when there are none.
func (m Metrics) Sum(name string, labels ...string) float64 {
	family, ok := m[name]
	if !ok {
		return 0
	}
	var sum float64
	for _, sample := range family.Metric {
		if holds(sample, labels) {
			sum += value(sample)
		}
	}
	return sum
}

// By adds up a metric by the value of one label, of the samples that hold the
// given name-value pairs.
func (m Metrics) By(name, label string, labels ...string) map[string]float64 {
	sums := map[string]float64{}
	family, ok := m[name]
	if !ok {
		return sums
	}
	for _, sample := range family.Metric {
		if !holds(sample, labels) {
			continue
		}
		for _, l := range sample.Label {
			if l.GetName() == label {
				sums[l.GetValue()] += value(sample)
			}
		}
	}
	return sums
}

// Names lists the metrics of the scrape in order.
func (m Metrics) Names() []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func holds(sample *dto.Metric, labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		found := false
		for _, l := range sample.Label {
			found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

func value(sample *dto.Metric) float64 {
	switch {
	case sample.Counter != nil:
		return sample.Counter.GetValue()
	case sample.Gauge != nil:
		return sample.Gauge.GetValue()
	case sample.Histogram != nil:
		return float64(sample.Histogram.GetSampleCount())
	case sample.Untyped != nil:
		return sample.Untyped.GetValue()
	}
	return 0
}
