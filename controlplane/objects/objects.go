// Package objects owns the Kubernetes objects that Culvert reads: how the bytes of
// one become a checked value, and what a set of them means as a model.Model. It
// must not know where they came from (a directory, an API server) nor what is made
// of the model. Pure functions and plain values; any goroutine may call them, and a
// Set is not changed while Model reads it. controlplane/file and controlplane do.
package objects

import (
	"cmp"
	"slices"

	"github.com/culvert-mesh/culvert/controlplane/model"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Key identifies an object. Name.Namespace is "" for a Namespace.
type Key struct {
	Kind string
	Name model.Name
}

// Object is one object of any kind that is read, decoded, defaulted and checked.
type Object struct {
	Key Key
	// Value is one of the types of Set.
	Value any
}

// Placed is a value and where it stands.
type Placed[T any] struct {
	Ref   model.Ref
	Value *T
}

// Set is all objects of one moment, each list sorted by namespace and name.
type Set struct {
	Namespaces []Placed[corev1.Namespace]
	Pods       []Placed[corev1.Pod]
	Services   []Placed[corev1.Service]
	Slices     []Placed[discoveryv1.EndpointSlice]
	Routes     []Placed[gwv1.HTTPRoute]
	Grants     []Placed[gwv1.ReferenceGrant]
}

// Add puts an object in its list, unsorted.
func (s *Set) Add(ref model.Ref, o Object) {
	switch v := o.Value.(type) {
	case *corev1.Namespace:
		s.Namespaces = append(s.Namespaces, Placed[corev1.Namespace]{ref, v})
	case *corev1.Pod:
		s.Pods = append(s.Pods, Placed[corev1.Pod]{ref, v})
	case *corev1.Service:
		s.Services = append(s.Services, Placed[corev1.Service]{ref, v})
	case *discoveryv1.EndpointSlice:
		s.Slices = append(s.Slices, Placed[discoveryv1.EndpointSlice]{ref, v})
	case *gwv1.HTTPRoute:
		s.Routes = append(s.Routes, Placed[gwv1.HTTPRoute]{ref, v})
	case *gwv1.ReferenceGrant:
		s.Grants = append(s.Grants, Placed[gwv1.ReferenceGrant]{ref, v})
	}
}

// Sort brings the lists in order; Model needs it for a result that does not
// depend on the order of reading.
func (s *Set) Sort() {
	sortPlaced(s.Namespaces)
	sortPlaced(s.Pods)
	sortPlaced(s.Services)
	sortPlaced(s.Slices)
	sortPlaced(s.Routes)
	sortPlaced(s.Grants)
}

func sortPlaced[T any](ps []Placed[T]) {
	slices.SortFunc(ps, func(a, b Placed[T]) int {
		return cmp.Or(a.Ref.Name.Compare(b.Ref.Name), cmp.Compare(a.Ref.Kind, b.Ref.Kind))
	})
}
