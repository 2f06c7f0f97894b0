package apps

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// goClient builds the Go program, once.
func (f *fixture) goClient(t *testing.T) string {
	t.Helper()
	path := filepath.Join(f.dir, "goclient")
	if f.started["goclient"] {
		return path
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./goclient").CombinedOutput(); err != nil {
		t.Fatalf("build goclient: %v\n%s", err, out)
	}
	f.started["goclient"] = true
	return path
}

// goStories: net/http with kept connections, bound sources, HTTP/2, half-close.
func goStories(t *testing.T, f *fixture) {
	f.nginx(t)
	f.echo(t)
	f.quiet(t)
	binary := f.goClient(t)
	for _, v6 := range []bool{false, true} {
		for _, c := range []struct {
			story string
			to    service
			went  way
		}{
			{"http", service{"echo", v6}, way{HTTP: 2, Requests: 9}},
			{"http", service{"echo-any", v6}, way{HTTP: 2, Requests: 9}},
			{"h2c", service{"h2c-any", v6}, way{TCP: 1}},
			{"tcp", service{"tcp", v6}, way{Kernel: 2}},
			{"tcp", service{"tcp-any", v6}, way{TCP: 2}},
		} {
			t.Run(fmt.Sprintf("%v/%s", c.to, c.story), func(t *testing.T) {
				f.went(t, f.client, c.to, c.went, func() {
					mustContain(t, f.run(t, f.client, binary, c.story, f.addr(t, c.to).String(), f.own(f.client, c.to), f.source(f.client, c.to)), "ok")
				})
			})
		}
	}
}

// grpcStories: gRPC to a declared and to an undeclared port, both as bytes.
func grpcStories(t *testing.T, f *fixture) {
	binary := f.goClient(t)
	f.serve(t, "grpc", grpcPort, binary, "grpc-server", fmt.Sprintf(":%d", grpcPort), "-", "-")
	for _, c := range []struct {
		to   service
		went way
	}{
		{service{"grpc", false}, way{Kernel: 1}},
		{service{"grpc-any", false}, way{TCP: 1, Failed: 1}},
		{service{"grpc-any", true}, way{TCP: 1, Failed: 1}},
	} {
		f.went(t, f.client, c.to, c.went, func() {
			mustContain(t, f.run(t, f.client, binary, "grpc", f.addr(t, c.to).String(), "-", "-"), "ok")
		})
	}
}

// nodeStories: Node's agent, fetch, HTTP/2, upgrade and plain sockets.
func nodeStories(t *testing.T, f *fixture) {
	f.nginx(t)
	f.echo(t)
	f.quiet(t)
	for _, v6 := range []bool{false, true} {
		for _, c := range []struct {
			story string
			to    service
			went  way
		}{
			{"agent fetches upgrade", service{"echo", v6}, way{HTTP: 3, Requests: 12, Spare: 3}},
			{"agent fetches upgrade", service{"echo-any", v6}, way{HTTP: 3, Requests: 12, Spare: 3}},
			{"http2", service{"h2c-any", v6}, way{TCP: 1}},
			{"tls", service{"tls-any", v6}, way{TCP: 1, Failed: 1}},
			{"sockets", service{"tcp", v6}, way{Kernel: 1}},
			{"sockets", service{"tcp-any", v6}, way{TCP: 1}},
		} {
			t.Run(fmt.Sprintf("%v/%s", c.to, c.story), func(t *testing.T) {
				addr := f.addr(t, c.to)
				f.went(t, f.client, c.to, c.went, func() {
					mustContain(t, f.run(t, f.client, "node", script(t, "client.mjs"), c.story, addr.Addr().String(), fmt.Sprint(addr.Port()), f.own(f.client, c.to), f.source(f.client, c.to)), "ok")
				})
			})
		}
	}
}
