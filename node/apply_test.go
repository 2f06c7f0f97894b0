package node

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/culvert-mesh/culvert/node/capture"
	"github.com/culvert-mesh/culvert/proxy/table"
)

func TestOriginsOfASnapshot(t *testing.T) {
	at := netip.MustParseAddrPort
	snapshot, err := table.Build(table.Input{
		Backends: []table.BackendInput{{Name: "a/b:80", Endpoints: []table.EndpointInput{
			{Addr: at("10.1.0.1:8080"), Ready: true, Serving: true}, {Addr: at("10.1.0.2:8080"), Serving: true},
			{Addr: at("[fd00::1]:8080"), Serving: true, Weight: 3}, {Addr: at("[fd00::2]:8080")}}}},
		Services: []table.ServiceInput{
			{Name: "a/http:80", Origins: []netip.AddrPort{at("10.0.0.1:80")}, Protocol: table.HTTP1, Stance: table.Closed, Backend: "a/b:80"},
			{Name: "a/raw:80", Origins: []netip.AddrPort{at("10.0.0.2:80"), at("[fd01::2]:80")}, Protocol: table.Opaque, Backend: "a/b:80"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []capture.Origin{
		{Addr: at("10.0.0.1:80"), Mode: capture.ModeProxy, Stance: capture.StanceClosed},
		{Addr: at("10.0.0.2:80"), Mode: capture.ModeKernel, Endpoints: []capture.Endpoint{{Addr: at("10.1.0.1:8080"), Weight: 1}}},
		// None of the family is ready: those that serve until they end.
		{Addr: at("[fd01::2]:80"), Mode: capture.ModeKernel, Endpoints: []capture.Endpoint{{Addr: at("[fd00::1]:8080"), Weight: 3}}},
	}
	if got := origins(snapshot); !reflect.DeepEqual(got, want) {
		t.Fatalf("got\n%+v, want\n%+v", got, want)
	}
}
