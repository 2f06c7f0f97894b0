package translate

import (
	"math"

	"github.com/culvert-mesh/culvert/controlplane/model"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func cluster(s *model.Service, p *model.Port) *clusterv3.Cluster {
	out := &clusterv3.Cluster{
		Name:                 p.ID(),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		LbPolicy:             clusterv3.Cluster_ROUND_ROBIN,
		ConnectTimeout:       durationpb.New(p.ConnectTimeout),
		OutlierDetection:     outlierDetection(p.Breaker),
		CircuitBreakers:      circuitBreakers(p.Budget),
	}
	if s.ClientAffinity {
		out.Metadata = metadata(map[string]string{"session_affinity": "ClientIP"})
	}
	return out
}

func outlierDetection(b model.Breaker) *clusterv3.OutlierDetection {
	return &clusterv3.OutlierDetection{
		Consecutive_5Xx:          wrapperspb.UInt32(b.Consecutive),
		BaseEjectionTime:         durationpb.New(b.BaseEjection),
		MaxEjectionTime:          durationpb.New(b.MaxEjection),
		MaxEjectionPercent:       wrapperspb.UInt32(100),
		EnforcingConsecutive_5Xx: wrapperspb.UInt32(100),
		// On by default in Envoy; not asked for by anybody.
		EnforcingSuccessRate: wrapperspb.UInt32(0),
	}
}

// circuitBreakers bounds retries alone. Envoy's other limits default to 1024,
// which nobody asked for either.
func circuitBreakers(b model.Budget) *clusterv3.CircuitBreakers {
	none := wrapperspb.UInt32(math.MaxUint32)
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		Priority:           corev3.RoutingPriority_DEFAULT,
		MaxConnections:     none,
		MaxPendingRequests: none,
		MaxRequests:        none,
		MaxRetries:         none,
		RetryBudget: &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
			BudgetPercent:       &typev3.Percent{Value: b.Percent},
			MinRetryConcurrency: wrapperspb.UInt32(b.MinConcurrency),
		},
	}}}
}

func assignment(p *model.Port) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: p.ID()}
	if len(p.Endpoints) == 0 {
		return out
	}
	group := &endpointv3.LocalityLbEndpoints{}
	for _, e := range p.Endpoints {
		group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: address(e.Addr.Addr(), e.Addr.Port()),
			}},
			HealthStatus:        health(e),
			LoadBalancingWeight: wrapperspb.UInt32(1),
		})
	}
	out.Endpoints = []*endpointv3.LocalityLbEndpoints{group}
	return out
}

func health(e model.Endpoint) corev3.HealthStatus {
	switch {
	case e.Ready:
		return corev3.HealthStatus_HEALTHY
	case e.Serving:
		return corev3.HealthStatus_DRAINING
	}
	return corev3.HealthStatus_UNHEALTHY
}
