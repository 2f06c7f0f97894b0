package xds

import (
	"math"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// cluster is a decoded Cluster.
type cluster struct {
	// backend has everything but the endpoints.
	backend table.BackendInput
	// assignment names the ClusterLoadAssignment.
	assignment string
}

// decodeCluster reads an EDS cluster.
func decodeCluster(m *clusterv3.Cluster) (*cluster, error) {
	err := only(m, "name", "alt_stat_name", "type", "eds_cluster_config", "connect_timeout", "lb_policy",
		"outlier_detection", "circuit_breakers", "metadata")
	if err != nil {
		return nil, err
	}
	if m.GetType() != clusterv3.Cluster_EDS {
		return nil, refuse("type", "%v is not supported, only EDS", m.GetType())
	}
	eds := m.GetEdsClusterConfig()
	if eds == nil {
		return nil, refuse("eds_cluster_config", "missing")
	}
	if err := only(eds, "eds_config", "service_name"); err != nil {
		return nil, at("eds_cluster_config", err)
	}
	if err := onlyADS(eds.GetEdsConfig()); err != nil {
		return nil, at("eds_cluster_config.eds_config", err)
	}
	c := &cluster{backend: table.BackendInput{Name: m.GetName()}, assignment: eds.GetServiceName()}
	if c.assignment == "" {
		c.assignment = m.GetName()
	}
	switch m.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
		c.backend.Balance = table.RoundRobin
	case clusterv3.Cluster_RANDOM:
		c.backend.Balance = table.WeightedRandom
	default:
		return nil, refuse("lb_policy", "%v is not supported", m.GetLbPolicy())
	}
	if c.backend.ConnectTimeout, err = duration("connect_timeout", m.GetConnectTimeout()); err != nil {
		return nil, err
	}
	if c.backend.Breaker, err = decodeBreaker(m.GetOutlierDetection()); err != nil {
		return nil, at("outlier_detection", err)
	}
	if c.backend.Budget, err = decodeBudget(m.GetCircuitBreakers()); err != nil {
		return nil, at("circuit_breakers", err)
	}
	return c, nil
}

// decodeBreaker reads the breaker per endpoint; without outlier detection there
// is none, as in Envoy. The times default to table's values, not to Envoy's 30 s
// and 300 s: Culvert probes with one request before it trusts an endpoint again.
func decodeBreaker(m *clusterv3.OutlierDetection) (table.BreakerInput, error) {
	var b table.BreakerInput
	if m == nil {
		b.Disabled = true
		return b, nil
	}
	err := only(m, "consecutive_5xx", "base_ejection_time", "max_ejection_time", "max_ejection_percent",
		"enforcing_consecutive_5xx", "enforcing_success_rate", "enforcing_consecutive_gateway_failure")
	if err != nil {
		return b, err
	}
	exact := []struct {
		field string
		value *wrapperspb.UInt32Value
		want  uint32
	}{
		{"max_ejection_percent", m.GetMaxEjectionPercent(), 100},
		{"enforcing_success_rate", m.GetEnforcingSuccessRate(), 0},
		{"enforcing_consecutive_gateway_failure", m.GetEnforcingConsecutiveGatewayFailure(), 0},
	}
	for _, e := range exact {
		if e.value != nil && e.value.GetValue() != e.want {
			return b, refuse(e.field, "%d is not supported, only %d", e.value.GetValue(), e.want)
		}
	}
	switch e := m.GetEnforcingConsecutive_5Xx(); {
	case e == nil, e.GetValue() == 100:
	case e.GetValue() == 0:
		b.Disabled = true
	default:
		return b, refuse("enforcing_consecutive_5xx", "%d is not supported, only 0 and 100", e.GetValue())
	}
	b.Consecutive = m.GetConsecutive_5Xx().GetValue()
	if b.BaseEjection, err = duration("base_ejection_time", m.GetBaseEjectionTime()); err != nil {
		return b, err
	}
	b.MaxEjection, err = duration("max_ejection_time", m.GetMaxEjectionTime())
	return b, err
}

// decodeBudget reads the retry budget. Other limits are refused unless they say
// "no limit"; left out they are not used.
func decodeBudget(m *clusterv3.CircuitBreakers) (table.BudgetInput, error) {
	var b table.BudgetInput
	if m == nil {
		return b, nil
	}
	if err := only(m, "thresholds"); err != nil {
		return b, err
	}
	if n := len(m.GetThresholds()); n > 1 {
		return b, refuse("thresholds", "%d of them; at most one is supported", n)
	}
	for _, t := range m.GetThresholds() {
		if err := decodeThreshold(&b, t); err != nil {
			return b, at("thresholds[0]", err)
		}
	}
	return b, nil
}

func decodeThreshold(b *table.BudgetInput, t *clusterv3.CircuitBreakers_Thresholds) error {
	err := only(t, "max_connections", "max_pending_requests", "max_requests", "max_retries", "retry_budget")
	if err != nil {
		return err
	}
	limits := []struct {
		field string
		value *wrapperspb.UInt32Value
	}{
		{"max_connections", t.GetMaxConnections()}, {"max_pending_requests", t.GetMaxPendingRequests()},
		{"max_requests", t.GetMaxRequests()}, {"max_retries", t.GetMaxRetries()},
	}
	for _, l := range limits {
		if l.value != nil && l.value.GetValue() != math.MaxUint32 {
			return refuse(l.field, "%d: limits are not supported", l.value.GetValue())
		}
	}
	budget := t.GetRetryBudget()
	if budget == nil {
		return nil
	}
	if err := only(budget, "budget_percent", "min_retry_concurrency"); err != nil {
		return at("retry_budget", err)
	}
	// Envoy's defaults, for a retry_budget that is there.
	b.Percent, b.MinConcurrency = 20, 3
	if p := budget.GetBudgetPercent(); p != nil {
		b.Percent = p.GetValue()
	}
	if c := budget.GetMinRetryConcurrency(); c != nil {
		b.MinConcurrency = c.GetValue()
	}
	if *b == (table.BudgetInput{}) {
		return refuse("retry_budget", "no retry at all is not supported")
	}
	return nil
}
