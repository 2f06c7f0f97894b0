// Package model owns Culvert's own words for policy: services with their ports,
// endpoints and routes, and the workloads of every node, as plain values that are
// complete (every default filled in) and checked. It must not know Kubernetes'
// types, files or xDS: sources fill it, translate reads it. Values are made by one
// goroutine and not changed after they were handed on, so any goroutine may read.
package model

import (
	"net/netip"
	"strconv"
	"time"
)

// Model is the policy of one moment.
type Model struct {
	// Services are sorted by namespace and name.
	Services []*Service
	// Workloads are the enrolled pods of all nodes, sorted by node and UID.
	Workloads []Workload
}

// Name names a namespaced object.
type Name struct{ Namespace, Name string }

// String is "namespace/name".
func (n Name) String() string { return n.Namespace + "/" + n.Name }

// Compare orders by namespace, then name.
func (n Name) Compare(o Name) int {
	switch {
	case n.Namespace < o.Namespace:
		return -1
	case n.Namespace > o.Namespace:
		return 1
	case n.Name < o.Name:
		return -1
	case n.Name > o.Name:
		return 1
	}
	return 0
}

// Service is a Kubernetes Service that has endpoints of its own (not ExternalName).
type Service struct {
	Name Name
	// Addresses are the ClusterIPs, the primary family's first. Empty: headless,
	// its clients dial pods, which capture leaves alone. External and load
	// balancer addresses are not captured: they belong to traffic from outside.
	Addresses []netip.Addr
	// Ports are the TCP ports, sorted by number.
	Ports []*Port
	// ClientAffinity is sessionAffinity: ClientIP. Noted, passed on, not honoured.
	ClientAffinity bool
}

// Headless says that no address leads to the Service.
func (s *Service) Headless() bool { return len(s.Addresses) == 0 }

// Port finds a port by number; nil: there is none.
func (s *Service) Port(number uint16) *Port {
	for _, p := range s.Ports {
		if p.Number == number {
			return p
		}
	}
	return nil
}

// Port is one TCP port of a Service: a listener, a cluster and its endpoints.
type Port struct {
	// Service is the owner's name.
	Service  Name
	Number   uint16
	Name     string
	Protocol Protocol
	Stance   Stance
	// Endpoints are sorted by address and unique.
	Endpoints []Endpoint
	// Routed says that at least one HTTPRoute is attached. Rules are then all
	// there is, in the order in which they are tried; none matches: 404.
	Routed bool
	Rules  []Rule

	ConnectTimeout time.Duration
	Breaker        Breaker
	Budget         Budget
}

// ID is "namespace/service:port", the name of everything on the wire that stands
// for this port.
func (p *Port) ID() string { return PortID(p.Service, p.Number) }

// PortID is Port.ID for a port that need not exist.
func PortID(service Name, number uint16) string {
	return service.String() + ":" + strconv.Itoa(int(number))
}

// Stance is what capture does for a service while the proxy is not there.
type Stance uint8

const (
	// Open connects directly to the origin that the client dialled.
	Open Stance = iota
	// Closed refuses the connection.
	Closed
)

// String is the word on the wire.
func (s Stance) String() string {
	if s == Closed {
		return "closed"
	}
	return "open"
}

// Endpoint is one address of a port.
type Endpoint struct {
	Addr netip.AddrPort
	// Ready endpoints get traffic. Serving ones that are not ready (terminating)
	// get it only when none is ready (KEP-1669). Neither: no traffic.
	Ready, Serving bool
}

// Breaker is the circuit breaker of each endpoint.
type Breaker struct {
	// Consecutive failures that open it.
	Consecutive uint32
	// BaseEjection is how long it stays open the first time, doubled each time up
	// to MaxEjection.
	BaseEjection, MaxEjection time.Duration
}

// Budget bounds retries as a share of the live requests.
type Budget struct {
	// Percent of the live requests, 0 to 100.
	Percent float64
	// MinConcurrency retries are allowed at any load.
	MinConcurrency uint32
}

// The defaults of what no policy object sets yet. They are the same as those of
// the data path, and sent all the same: a node of another version must not guess.
const (
	DefaultConnectTimeout = time.Second
	DefaultConsecutive    = 5
	DefaultBaseEjection   = time.Second
	DefaultMaxEjection    = 60 * time.Second
	DefaultBudgetPercent  = 20
	DefaultBudgetMin      = 3
)

// NewPort returns a port of a service with every default filled in.
func NewPort(service Name, number uint16) *Port {
	return &Port{
		Service:        service,
		Number:         number,
		ConnectTimeout: DefaultConnectTimeout,
		Breaker: Breaker{
			Consecutive:  DefaultConsecutive,
			BaseEjection: DefaultBaseEjection,
			MaxEjection:  DefaultMaxEjection,
		},
		Budget: Budget{Percent: DefaultBudgetPercent, MinConcurrency: DefaultBudgetMin},
	}
}

// Workload is an enrolled pod.
type Workload struct {
	// UID is never empty.
	UID  string
	Name Name
	// Node is the name of the node that it runs on.
	Node string
	// Addresses are the pod's IPs, the primary one first.
	Addresses []netip.Addr
	// Netns is the path of its network namespace; "": the node finds it by UID.
	Netns          string
	ServiceAccount string
	// Labels are those that telemetry shows.
	Labels map[string]string
}
