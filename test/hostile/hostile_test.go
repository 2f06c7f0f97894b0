package hostile

import (
	"net"
	"testing"

	"github.com/culvert-mesh/culvert/test/abuse"
)

// TestHostile: everything that is hostile, on one node, with good clients beside.
func TestHostile(t *testing.T) {
	s := newStage(t)
	scripts := map[string]script{}
	for _, b := range badServers() {
		scripts[b.name] = b.script
	}
	s.serveScripts(scripts)
	catalogue, void := s.publish("catalogue", cataloguePort, s.server), s.publish("void", nobodysPort, s.server)
	evil := s.publish("evil", scriptPort, s.server)
	s.WritePolicy("route-evil.yaml", route(evil))
	for _, service := range []string{catalogue.VIP4.String(), void.VIP4.String(), "/never-request"} {
		s.listed(service)
	}
	drip := s.startDrip(evil)
	t.Run("catalogue", func(t *testing.T) {
		up, err := s.server.Listen("tcp", ":8081")
		if err != nil {
			t.Fatal(err)
		}
		abuse.Run(t, abuse.Config{Upstream: up, Patience: patience, Dial: func() (net.Conn, error) { return s.dial(catalogue) }})
	})
	t.Run("servers", func(t *testing.T) { s.playBadServers(t, evil) })
	t.Run("nobody", func(t *testing.T) {
		s.each(t, 10, func(int) error {
			return s.ask(&badServer{name: "x", status: 502, reason: "connect_failed", alone: true}, void)
		})
	})
	t.Run("clients", func(t *testing.T) { s.playBadClients(t, evil) })
	t.Run("slow clients", drip.finish)
	s.checkUnharmed()
}
