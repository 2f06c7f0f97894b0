package proxy

import "github.com/culvert-mesh/culvert/proxy/upstream"

// Backends returns what lives behind every backend, sorted, for /debug. Any
// goroutine.
func (s *Server) Backends() []upstream.BackendDump { return s.registry.Dump() }

// Pools returns the numbers of every loop's idle connections. Any goroutine.
func (s *Server) Pools() []upstream.PoolStats { return s.registry.PoolStats() }
