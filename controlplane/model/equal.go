package model

import "reflect"

// Equal says whether two services are the same in everything. By reflection: a
// field that is added later cannot be forgotten here, which would leave nodes with
// what was before.
func (s *Service) Equal(o *Service) bool { return reflect.DeepEqual(s, o) }

// Equal says whether two workloads are the same in everything.
func (w *Workload) Equal(o *Workload) bool { return reflect.DeepEqual(w, o) }
