package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/culvert-mesh/culvert/proxy/table"
)

// assignment is a decoded ClusterLoadAssignment.
type assignment struct {
	endpoints []table.EndpointInput
}

// decodeAssignment flattens the localities: without locality weights Envoy
// spreads over all of one priority alike, and only priority 0 is supported.
func decodeAssignment(m *endpointv3.ClusterLoadAssignment) (*assignment, error) {
	if err := only(m, "cluster_name", "endpoints"); err != nil {
		return nil, err
	}
	a := &assignment{}
	for i, locality := range m.GetEndpoints() {
		if err := only(locality, "locality", "lb_endpoints"); err != nil {
			return nil, item("endpoints", i, err)
		}
		for j, e := range locality.GetLbEndpoints() {
			endpoint, err := decodeEndpoint(e)
			if err != nil {
				return nil, item("endpoints", i, item("lb_endpoints", j, err))
			}
			a.endpoints = append(a.endpoints, endpoint)
		}
	}
	return a, nil
}

func decodeEndpoint(m *endpointv3.LbEndpoint) (table.EndpointInput, error) {
	var e table.EndpointInput
	err := only(m, "endpoint", "health_status", "load_balancing_weight", "metadata")
	if err != nil {
		return e, err
	}
	if m.GetEndpoint() == nil {
		return e, refuse("endpoint", "missing")
	}
	if err := only(m.GetEndpoint(), "address", "hostname"); err != nil {
		return e, at("endpoint", err)
	}
	if e.Addr, err = socketAddress(m.GetEndpoint().GetAddress()); err != nil {
		return e, at("endpoint.address", err)
	}
	if w := m.GetLoadBalancingWeight(); w != nil {
		if w.GetValue() == 0 {
			return e, refuse("load_balancing_weight", "0 is not a weight")
		}
		e.Weight = w.GetValue()
	}
	switch s := m.GetHealthStatus(); s {
	case corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_HEALTHY:
		e.Ready, e.Serving = true, true
	case corev3.HealthStatus_DRAINING:
		e.Serving = true
	case corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_TIMEOUT:
	default:
		return e, refuse("health_status", "%v is not supported", s)
	}
	return e, nil
}
