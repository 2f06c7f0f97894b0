package l7_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/l7"
	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }

const (
	service = "shop/cart:80"
	backend = "shop/cart-v1:80"
)

func vip() netip.AddrPort { return netip.MustParseAddrPort("10.96.0.1:8080") }

// world is an engine on one loop, with a clock that only the test moves.
type world struct {
	t        testing.TB
	reactor  *proxytest.Reactor
	registry *upstream.Registry
	tables   atomic.Pointer[l7.Tables]
	metrics  *telemetry.Registry
	engine   *l7.Engine
	source   telemetry.Source
}

func newWorld(t testing.TB, limits l7.Limits) *world {
	t.Helper()
	return newWorldOf(t, limits, proxytest.Sockets{})
}

func newWorldOf(t testing.TB, limits l7.Limits, dialer upstream.Dialer) *world {
	t.Helper()
	w := &world{t: t, reactor: proxytest.Start(t, 1), metrics: telemetry.NewRegistry(1, nil)}
	w.registry = upstream.NewRegistry(upstream.Config{Loops: 1, Dialer: dialer})
	w.source = telemetry.Source{ID: 1, Label: "shop/web-0"}
	loop := w.reactor.Loop(0)
	w.engine = l7.NewEngine(l7.Config{
		Loop: loop, Tables: &w.tables, Pools: w.registry.NewPools(loop),
		Recorder: w.metrics.Recorder(0), Limits: limits,
	})
	return w
}

// apply publishes a service with these rules and backends; no rules: all goes
// to the first backend.
func (w *world) apply(rules []table.RuleInput, backends ...table.BackendInput) {
	w.t.Helper()
	snapshot, err := table.Build(table.Input{
		Services: []table.ServiceInput{{
			Name: service, Origins: []netip.AddrPort{vip()}, Protocol: table.HTTP1,
			Backend: backends[0].Name, Rules: rules,
		}},
		Backends: backends,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.tables.Store(&l7.Tables{Snapshot: snapshot, View: w.registry.Apply(snapshot)})
}

// at is a backend with these endpoints, without a breaker.
func at(name string, endpoints ...netip.AddrPort) table.BackendInput {
	b := table.BackendInput{Name: name, Breaker: table.BreakerInput{Disabled: true}}
	for _, e := range endpoints {
		b.Endpoints = append(b.Endpoints, table.EndpointInput{Addr: e, Ready: true})
	}
	return b
}

// single is a world in which all goes to one endpoint.
func single(t testing.TB) (*world, *proxytest.Server) {
	w := newWorld(t, l7.Limits{})
	endpoint := proxytest.Listen(t)
	w.apply(nil, at(backend, endpoint.Addr()))
	return w, endpoint
}

// forward is a rule for all requests that forwards to the backend.
func forward(edit func(*table.ForwardInput)) []table.RuleInput {
	f := &table.ForwardInput{Backends: []table.WeightedBackend{{Backend: backend, Weight: 1}}}
	if edit != nil {
		edit(f)
	}
	return []table.RuleInput{{Name: "shop/cart/0", Action: table.ActionInput{Forward: f}}}
}

// owner waits for a session's end.
type owner struct {
	w       *world
	report  telemetry.ConnReport
	session l7.Session
	conn    *reactor.Conn
	ended   chan telemetry.Reason
}

func (o *owner) Ended(reason telemetry.Reason) {
	o.report.Reason = reason
	o.w.metrics.Recorder(0).ConnEnded(&o.report)
	o.ended <- reason
}

// dial opens a connection of a client.
func (w *world) dial() (*proxytest.Peer, *owner) {
	w.t.Helper()
	conn, peer := w.reactor.Pair(w.t)
	o := &owner{w: w, conn: conn, ended: make(chan telemetry.Reason, 1)}
	o.report = telemetry.ConnReport{
		Source: &w.source, Origin: vip(), HTTP: true, Service: w.tables.Load().Snapshot.Services[0],
	}
	w.reactor.Go(0, func() {
		w.metrics.Recorder(0).ConnOpened(&o.report)
		o.session.Begin(w.engine, conn, o, &o.report, nil)
	})
	return peer, o
}

// over waits until the connection has ended for a reason.
func (o *owner) over(want telemetry.Reason) {
	o.w.t.Helper()
	select {
	case got := <-o.ended:
		if got != want {
			o.w.t.Errorf("connection ended for %s, want %s", got, want)
		}
	case <-time.After(10 * time.Second):
		o.w.t.Fatalf("connection does not end")
	}
}

// counted checks that the exposition has these lines.
func (w *world) counted(lines ...string) {
	w.t.Helper()
	w.reactor.Settle()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w.metrics)
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
	for _, line := range lines {
		if !strings.Contains(out.String(), line+"\n") {
			w.t.Errorf("no %s", line)
		}
	}
	if w.t.Failed() {
		for _, line := range strings.Split(out.String(), "\n") {
			if strings.Contains(line, "_total{") {
				w.t.Log(line)
			}
		}
	}
}

// requests is the line that counts requests of this kind.
func requests(route, to string, status int, reason telemetry.Reason, n int) string {
	return fmt.Sprintf("proxy_requests_total{backend=%q,reason=%q,route=%q,service=%q,source=\"shop/web-0\",status=\"%d\"} %d",
		to, reason, route, service, status, n)
}

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: cart\r\n\r\n" }

// ok is a response with a body.
func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}
