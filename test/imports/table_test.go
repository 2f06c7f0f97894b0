package imports_test

// room is a package of ours and what it may import.
type room struct {
	// path is below the module; "" is the module's root.
	path string
	// own lists the packages of ours that it may import; "x/..." is x and all
	// below it.
	own []string
	// outside lists what it may import beyond the standard library, by prefix;
	// "..." is anything that go.mod has.
	outside []string
	// why is the reason, printed when an edge breaks the rule.
	why string
}

const (
	xsys       = "golang.org/x/sys/"
	prometheus = "github.com/prometheus/"
	k8s        = "k8s.io/"
	gatewayAPI = "sigs.k8s.io/gateway-api/"
	k8sYAML    = "sigs.k8s.io/yaml"
	xdsTypes   = "github.com/envoyproxy/go-control-plane/envoy/"
	protobuf   = "google.golang.org/protobuf/"
)

// rooms is the import table. A new edge is a design change, not a fix.
func rooms() []room {
	const mechanism = "a pure mechanism: tested without sockets, kernel or configuration"
	const leaf = "it stands at the bottom: whoever it knew could not use it"
	rooms := []room{
		{"", []string{"node/...", "controlplane/..."}, nil, "main has subcommands and flags only; it starts the two halves"},
		{"api/v1", nil, []string{"..."}, "generated types that both halves speak; they must not pull in either"},
		{"bpf", nil, []string{"github.com/cilium/ebpf", xsys}, "the kernel object and its handle know maps, not policy"},

		{"proxy", []string{"proxy/..."}, []string{prometheus, xsys}, "the proxy is given origins and sockets by interfaces; it must run where there is no eBPF and no xDS"},
		{"proxy/reactor", nil, []string{xsys}, "sockets and coroutines; knows no protocol"},
		{"proxy/table", nil, []string{xsys}, leaf},
		{"proxy/detect", nil, []string{xsys}, mechanism},
		{"proxy/balance", nil, []string{xsys}, mechanism},
		{"proxy/breaker", nil, []string{xsys}, mechanism},
		{"proxy/retry", nil, []string{xsys}, mechanism},
		{"proxy/http1", nil, []string{xsys}, "bytes in, events out; no I/O"},
		{"proxy/route", []string{"proxy/table"}, nil, "a matcher over the table"},
		{"proxy/telemetry", []string{"proxy/table"}, []string{prometheus, "google.golang.org/protobuf/proto"}, "it is told; it asks nobody"},
		{"proxy/upstream", []string{"proxy/reactor", "proxy/table", "proxy/balance", "proxy/breaker", "proxy/retry", "proxy/telemetry"}, []string{xsys}, "backends and leases; knows neither requests nor routes"},
		{"proxy/l4", []string{"proxy/reactor", "proxy/telemetry"}, []string{xsys}, "bytes both ways; knows no policy"},
		{"proxy/l7", []string{"proxy/reactor", "proxy/l4", "proxy/http1", "proxy/table", "proxy/route", "proxy/upstream", "proxy/retry", "proxy/telemetry"}, []string{xsys}, "one request, from what the stages before it found out; l4 is what an upgrade becomes"},
		{"proxy/proxytest", []string{"proxy/..."}, []string{xsys}, "scripted peers for the proxy's own tests"},

		{"node", []string{"bpf", "proxy/...", "node/..."}, []string{"..."}, "the only place that joins kernel and proxy; the control plane is met on the wire"},
		{"node/capture", []string{"bpf"}, []string{"github.com/cilium/ebpf", "github.com/vishvananda/", xsys}, "the kernel side; the proxy sees it as two interfaces"},
		{"node/workload", nil, []string{xsys}, "finds a pod on disk from its uid"},
		{"node/xds", []string{"proxy/table", "api/v1"}, []string{xdsTypes, "github.com/envoyproxy/go-control-plane/pkg/", protobuf, "google.golang.org/grpc", "google.golang.org/genproto/", prometheus}, "the only xDS in the data plane; it ends in table.Input"},
		{"node/admin", nil, []string{prometheus}, "serves what it is given"},

		{"controlplane", []string{"controlplane/...", "api/v1"}, []string{"..."}, "meets nodes on the wire only, so that any xDS server may take its place"},
		{"controlplane/model", nil, nil, "the words of policy; neither Kubernetes' types nor Envoy's"},
		{"controlplane/objects", []string{"controlplane/model", "controlplane/gatewayapi"}, []string{k8s, gatewayAPI, k8sYAML, "sigs.k8s.io/json"}, "objects to model, whatever source they came from"},
		{"controlplane/gatewayapi", []string{"controlplane/model"}, []string{k8s, gatewayAPI}, "Gateway API to model"},
		{"controlplane/file", []string{"controlplane/model", "controlplane/objects", "controlplane/gatewayapi"}, []string{k8s, gatewayAPI, k8sYAML, "github.com/fsnotify/fsnotify", xsys}, "a directory as a source of objects"},
		{"controlplane/translate", []string{"controlplane/model", "api/v1"}, []string{xdsTypes, "github.com/envoyproxy/go-control-plane/pkg/", protobuf, "github.com/cncf/xds/"}, "model to xDS; no I/O"},
		{"controlplane/serve", []string{"controlplane/model", "controlplane/translate", "api/v1"}, []string{"..."}, "resources to nodes"},
	}
	return rooms
}

// banned may not be imported below a path by anybody, whatever the table says.
func banned() []struct{ below, prefix, why string } {
	return []struct{ below, prefix, why string }{
		{"node", "k8s.io/client-go", "a node has no Kubernetes permission at all"},
		{"proxy", "k8s.io/", "policy reaches the proxy as a table"},
		{"proxy", "google.golang.org/grpc", "policy reaches the proxy as a table"},
		{"proxy", "github.com/envoyproxy/", "policy reaches the proxy as a table"},
		{"controlplane", "github.com/cilium/ebpf", "the control plane never touches a kernel"},
	}
}
