package proxy_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy"
	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }

// world is a server with one workload whose connections all have one origin.
type world struct {
	t        testing.TB
	reactor  *proxytest.Reactor
	server   *proxy.Server
	metrics  *telemetry.Registry
	listener netip.AddrPort
}

func vip() netip.AddrPort { return netip.MustParseAddrPort("10.96.0.1:80") }

// anyOrigin finds the VIP for every connection.
type anyOrigin struct{}

func (anyOrigin) Origin(netip.AddrPort) (netip.AddrPort, bool) { return vip(), true }

func newWorld(t testing.TB, loops int) *world {
	t.Helper()
	return newWorldWith(t, loops, func(*proxy.Config) {})
}

func newWorldWith(t testing.TB, loops int, edit func(*proxy.Config)) *world {
	t.Helper()
	w := &world{t: t, reactor: proxytest.Start(t, loops)}
	w.metrics = telemetry.NewRegistry(loops, nil)
	config := proxy.Config{
		Group: w.reactor.Group, Origins: anyOrigin{}, Dialer: proxytest.Sockets{}, Telemetry: w.metrics,
	}
	edit(&config)
	server, err := proxy.New(config)
	if err != nil {
		t.Fatal(err)
	}
	w.server = server
	fd, at := proxytest.ListenFD(t)
	w.listener = at
	if err := server.Serve(proxy.Workload{ID: 7, Namespace: "shop", Name: "web-0"}, fd); err != nil {
		t.Fatal(err)
	}
	return w
}

// publish makes the VIP mean a service with one backend at addrs.
func (w *world) publish(protocol table.Protocol, addrs ...netip.AddrPort) {
	w.t.Helper()
	w.apply(serviceInput(protocol, addrs...))
}

func serviceInput(protocol table.Protocol, addrs ...netip.AddrPort) table.Input {
	backend := table.BackendInput{Name: "shop/cart:80"}
	for _, a := range addrs {
		backend.Endpoints = append(backend.Endpoints, table.EndpointInput{Addr: a, Ready: true})
	}
	return table.Input{
		Services: []table.ServiceInput{{
			Name: "shop/cart:80", Origins: []netip.AddrPort{vip()}, Protocol: protocol, Backend: backend.Name,
		}},
		Backends: []table.BackendInput{backend},
	}
}

func (w *world) apply(in table.Input) {
	w.t.Helper()
	snapshot, err := table.Build(in)
	if err != nil {
		w.t.Fatal(err)
	}
	w.server.Publish(snapshot)
}

func (w *world) dial() *proxytest.Peer { return proxytest.Dial(w.t, w.listener) }

// exposition is what Prometheus would scrape.
func (w *world) exposition() string {
	w.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w.metrics, w.server)
	families, err := registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	var out strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&out, f); err != nil {
			w.t.Fatal(err)
		}
	}
	return out.String()
}

// eventually waits for the exposition to have a line.
func (w *world) eventually(line string) {
	w.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !strings.Contains(w.exposition(), line+"\n") {
		if time.Now().After(deadline) {
			w.t.Fatalf("no %s in\n%s", line, w.exposition())
		}
		w.reactor.Settle()
	}
}

func TestRequestEndToEnd(t *testing.T) {
	w := newWorld(t, 2)
	endpoint := proxytest.Listen(t)
	w.publish(table.HTTP1, endpoint.Addr())
	client := w.dial()
	client.Send("GET /cart HTTP/1.1\r\nHost: cart\r\n\r\n")
	server := endpoint.Accept()
	server.Expect("GET /cart HTTP/1.1\r\nHost: cart\r\n\r\n")
	server.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	client.Expect("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	client.Send("GET /2 HTTP/1.1\r\nHost: cart\r\n\r\n")
	server.Expect("GET /2 HTTP/1.1\r\nHost: cart\r\n\r\n")
	server.Send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2")
	client.Expect("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2")
	client.Close()
	w.eventually(`proxy_requests_total{backend="shop/cart:80",reason="none",route="default",service="shop/cart:80",source="shop/web-0",status="200"} 2`)
	w.eventually(`proxy_connections_open{protocol="http1",service="shop/cart:80",source="shop/web-0"} 0`)
}
