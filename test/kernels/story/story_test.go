package story

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// A guest has no compiler: it is told where binaries are.
var (
	culvertBinary = flag.String("culvert", "", "the culvert `binary`; empty: it is built")
	peerBinary    = flag.String("peer", "", "the culvert-peer `binary`; empty: it is built")
)

// route marks what has gone through the proxy.
const route = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s, namespace: default}
spec:
  parentRefs: [{group: "", kind: Service, name: %[1]s}]
  rules:
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: x-route, value: %[1]s}]}
    backendRefs: [{name: %[1]s, port: 8080}]
`

// story is a client, a server and three services: open and shut are HTTP, of
// either stance, and opaque is balanced in the kernel. The server has the
// services' addresses itself, so that a connection which is not captured
// arrives as well.
type story struct {
	*world.T
	t                  *testing.T
	client             *world.Pod
	open, shut, opaque world.Service
}

func newStory(t *testing.T) *story {
	if *peerBinary != "" {
		world.UsePeer(*peerBinary)
	}
	w := world.ForTest(t, world.Config{Binary: *culvertBinary})
	s := &story{T: w, t: t, client: w.Pod("client", world.PodConfig{})}
	server := w.Pod("server", world.PodConfig{})
	if _, err := server.HTTPPeer(t.Context(), 8080, peer.Faults{}, "server"); err != nil {
		t.Fatal(err)
	}
	if _, err := server.TCPPeer(t.Context(), 9000, "--greeting", "hello\n"); err != nil {
		t.Fatal(err)
	}
	publish := func(name, protocol, stance string, port uint16) world.Service {
		service := w.Publish(world.Service{
			Name: name, Endpoints: world.Ready(server), Ports: []world.Port{{Port: port, AppProtocol: protocol}},
			Annotations: map[string]string{"culvert.dev/stance": stance},
		})
		for _, vip := range []netip.Addr{service.VIP4, service.VIP6} {
			if err := s.reachable(server, vip); err != nil {
				t.Fatal(err)
			}
		}
		return service
	}
	s.open, s.shut = publish("open", "http", "open", 8080), publish("shut", "http", "closed", 8080)
	s.opaque = publish("opaque", "tcp", "open", 9000)
	w.WritePolicy("open-route.yaml", fmt.Sprintf(route, "open"))
	w.WritePolicy("shut-route.yaml", fmt.Sprintf(route, "shut"))
	return s
}

// reachable gives the server an address and the client a way to it.
func (s *story) reachable(server *world.Pod, vip netip.Addr) error {
	dst := netlink.NewIPNet(vip.AsSlice())
	err := server.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(lo, &netlink.Addr{IPNet: dst, Flags: unix.IFA_F_NODAD})
	})
	via := server.IP4
	if vip.Is6() {
		via = server.IP6
	}
	return errors.Join(err, s.client.Do(func() error {
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: via.AsSlice()})
	}))
}

// way is how a request got there: "proxy", "direct", or why it did not.
func (s *story) way(addr, service string) string {
	c := s.client.HTTPClient()
	c.Timeout = 5 * time.Second
	defer c.CloseIdleConnections()
	resp, err := c.Get("http://" + addr + "/")
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EPERM):
		return "refused"
	case err != nil:
		return err.Error()
	}
	resp.Body.Close()
	switch by := resp.Header.Get(peer.ServedBy); {
	case resp.StatusCode != http.StatusOK || by != "server":
		return fmt.Sprintf("%s from %q", resp.Status, by)
	case resp.Header.Get("x-route") == service:
		return "proxy"
	}
	return "direct"
}

// expect waits until both services are reached as told, over either family:
// on a busy machine a heartbeat may be late.
func (s *story) expect(open, shut string) {
	s.t.Helper()
	for _, c := range []struct {
		addr, service, want string
	}{
		{s.open.Addr4(), "open", open}, {s.open.Addr6(), "open", open},
		{s.shut.Addr4(), "shut", shut}, {s.shut.Addr6(), "shut", shut},
	} {
		var seen []string
		err := world.Wait(s.t.Context(), c.service+" to be "+c.want, func() (bool, error) {
			way := s.way(c.addr, c.service)
			if len(seen) == 0 || seen[len(seen)-1] != way {
				seen = append(seen, way)
			}
			return way == c.want, nil
		})
		if err != nil {
			s.t.Errorf("%s: %v; it was %s", c.addr, err, strings.Join(seen, ", "))
		}
	}
}

// greeted says that the opaque service answers.
func (s *story) greeted() {
	s.t.Helper()
	for _, addr := range []string{s.opaque.Addr4(), s.opaque.Addr6()} {
		c, err := s.client.Dial(s.t.Context(), "tcp", addr)
		if err != nil {
			s.t.Errorf("opaque: %v", err)
			continue
		}
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			s.t.Error(err)
		}
		if text, err := bufio.NewReader(c).ReadString('\n'); text != "hello\n" || c.RemoteAddr().String() != addr {
			s.t.Errorf("opaque: %q from %v, %v", text, c.RemoteAddr(), err)
		}
		c.Close()
	}
}

func TestStory(t *testing.T) {
	s := newStory(t)
	s.expect("direct", "direct")
	// Two loops wherever this runs: a guest may have one processor.
	two := world.NodeConfig{Args: []string{"--loops", "2"}}
	node := s.Node(two)
	s.expect("proxy", "proxy")
	s.greeted()
	// A request is counted just after its last byte has left.
	s.Wait("the requests and the balanced connections to be counted", func() (bool, error) {
		m, err := node.Metrics(t.Context())
		return m.Sum("proxy_requests_total", "status", "200") >= 4 && m.Sum("culvert_capture_balanced_connections_total") >= 2, err
	})
	// The hooks stay, and know that nobody is behind them.
	node.Kill()
	s.expect("direct", "refused")
	s.greeted()
	// Another process takes the pins over.
	node = s.Node(two)
	s.expect("proxy", "proxy")
	s.greeted()
	if err := node.Stop(20 * time.Second); err != nil {
		t.Errorf("stop: %v\n%s", err, node.Output())
	}
	if err := s.Uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.expect("direct", "direct")
}
