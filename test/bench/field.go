package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// Ports of the backend pod and of every proxy pod.
const (
	httpPort = 8080
	echoPort = 9000 // peer.TCPServer, echoes
	oncePort = 9001 // peer.TCPServer, closes after one answer
)

// contender is one way from the client to the backend.
type contender struct {
	name string
	// addr is what the client dials for HTTP; echo and once for TCP, "" where
	// the contender does not take part.
	addr, echo, once string
}

// field is the world with everything running in it.
type field struct {
	options
	world           *world.World
	client, backend *world.Pod
	contenders      []contender
	node            *world.Node // nil without culvert
	dir             string      // configuration files and bodies
	table           table
}

// newField starts the backend and all contenders.
func newField(ctx context.Context, o options) (*field, error) {
	if !slices.Contains(o.contenders, "direct") {
		return nil, errors.New("every ratio is over direct: add it to -contenders")
	}
	w, err := world.New(o.world)
	if err != nil {
		return nil, err
	}
	f := &field{options: o, world: w}
	if err := f.start(ctx); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *field) close() error {
	err := f.world.Close()
	if f.dir != "" {
		err = errors.Join(err, os.RemoveAll(f.dir))
	}
	return err
}

func (f *field) start(ctx context.Context) (err error) {
	if f.dir, err = os.MkdirTemp("", "culvert-bench-"); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	// Workers of the backend do not run as root and must reach the files.
	if err := os.Chmod(f.dir, 0o755); err != nil {
		return fmt.Errorf("open the directory: %w", err)
	}
	// Short connections use up ports; in the pod's own namespace only.
	sysctls := map[string]string{"ipv4/ip_local_port_range": "1024 65000", "ipv4/tcp_tw_reuse": "1"}
	if f.client, err = f.world.Pod("client", world.PodConfig{Sysctls: sysctls}); err != nil {
		return err
	}
	if f.backend, err = f.world.Pod("backend", world.PodConfig{Sysctls: sysctls}); err != nil {
		return err
	}
	if err := f.startBackend(ctx); err != nil {
		return err
	}
	for _, name := range f.options.contenders {
		c, err := f.startContender(ctx, name)
		if err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		f.contenders = append(f.contenders, c)
	}
	return f.tryAll(ctx)
}

// startBackend starts nginx for HTTP and the peers for TCP.
func (f *field) startBackend(ctx context.Context) error {
	for name, size := range bodies() {
		body := strings.Repeat("x", size)
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte(body), 0o644); err != nil {
			return fmt.Errorf("write a body: %w", err)
		}
	}
	if err := f.startNginx(ctx, f.backend, backendConfig(f.dir)); err != nil {
		return err
	}
	if _, err := f.backend.TCPPeer(ctx, echoPort); err != nil {
		return err
	}
	_, err := f.backend.TCPPeer(ctx, oncePort, "--once")
	return err
}

func (f *field) startContender(ctx context.Context, name string) (contender, error) {
	if name == "direct" {
		return contender{name: name, addr: f.backend.Addr4(httpPort).String(),
			echo: f.backend.Addr4(echoPort).String(), once: f.backend.Addr4(oncePort).String()}, nil
	}
	if name == "culvert" {
		return f.startCulvert(ctx)
	}
	pod, host := f.client, "127.0.0.1"
	if name != "haproxy-sidecar" {
		// A node proxy as others do it: in a namespace of its own on the bridge.
		var err error
		if pod, err = f.world.Pod(name, world.PodConfig{Hidden: true}); err != nil {
			return contender{}, err
		}
		host = pod.IP4.String()
	}
	to := f.backend.Addr4(httpPort).String()
	var err error
	switch name {
	case "nginx":
		err = f.startNginx(ctx, pod, proxyConfig(to))
	case "haproxy", "haproxy-sidecar":
		path := filepath.Join(f.dir, name+".cfg")
		if err := os.WriteFile(path, []byte(haproxyConfig(to)), 0o644); err != nil {
			return contender{}, err
		}
		err = f.serve(ctx, pod, "haproxy", "-db", "-f", path)
	case "reverseproxy":
		self, selfErr := os.Executable()
		if selfErr != nil {
			return contender{}, selfErr
		}
		err = f.serve(ctx, pod, self, "reverseproxy", fmt.Sprintf(":%d", httpPort), "http://"+to)
	default:
		err = fmt.Errorf("no such contender")
	}
	return contender{name: name, addr: fmt.Sprintf("%s:%d", host, httpPort)}, err
}

// startNginx runs nginx in the foreground on a configuration of its own.
func (f *field) startNginx(ctx context.Context, pod *world.Pod, config string) error {
	prefix := filepath.Join(f.dir, "nginx-"+pod.Name)
	if err := os.MkdirAll(prefix, 0o755); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	path := filepath.Join(prefix, "nginx.conf")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return fmt.Errorf("write a configuration: %w", err)
	}
	return f.serve(ctx, pod, "nginx", "-p", prefix, "-c", path, "-e", "stderr")
}

// serve starts a server in a pod and waits until it listens.
func (f *field) serve(ctx context.Context, pod *world.Pod, args ...string) error {
	p, err := pod.Start(context.WithoutCancel(ctx), world.Command{Args: args})
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := pod.WaitListen(bounded, httpPort); err != nil {
		return fmt.Errorf("%w\n%s", err, p.Output())
	}
	return nil
}

// startCulvert publishes the backend as services and starts the node with
// everything on: detection, a route with timeouts and retries, metrics.
func (f *field) startCulvert(ctx context.Context) (contender, error) {
	publish := func(name string, port uint16, protocol string) (string, error) {
		s, err := f.world.Publish(world.Service{
			Name: name, Endpoints: world.Ready(f.backend),
			Ports: []world.Port{{Port: port, AppProtocol: protocol}},
		})
		return s.Addr4(), err
	}
	web, err := publish("web", httpPort, "")
	if err != nil {
		return contender{}, err
	}
	echo, err := publish("echo", echoPort, "tcp")
	if err != nil {
		return contender{}, err
	}
	once, err := publish("once", oncePort, "tcp")
	if err != nil {
		return contender{}, err
	}
	if err := f.world.WritePolicy("route-web.yaml", webRoute); err != nil {
		return contender{}, err
	}
	bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	f.node, err = f.world.StartNode(bounded, world.NodeConfig{})
	return contender{name: "culvert", addr: web, echo: echo, once: once}, err
}

// tryAll sends one request through every contender, and fails on a wrong
// answer: a proxy that answers errors is fast.
func (f *field) tryAll(ctx context.Context) error {
	for _, c := range f.contenders {
		for name := range bodies() {
			url := "http://" + c.addr + "/" + name
			r, err := f.client.Load(ctx, peer.Load{URL: url, Requests: 2, Timeout: 5 * time.Second})
			if err != nil {
				return fmt.Errorf("try %s: %w", c.name, err)
			}
			if r.OK != 2 {
				return fmt.Errorf("try %s: %s answers %v, errors %v (%s)", c.name, url, r.Status, r.Errors, r.FirstError)
			}
		}
	}
	return f.checkCaptured(ctx)
}

// checkCaptured makes sure that what is called Culvert went through Culvert.
func (f *field) checkCaptured(ctx context.Context) error {
	if f.node == nil {
		return nil
	}
	m, err := f.node.Metrics(ctx)
	if err != nil {
		return err
	}
	if n := m.Sum("proxy_requests_total"); n < float64(2*len(bodies())) {
		return fmt.Errorf("culvert counts %v requests: the client is not captured", n)
	}
	return nil
}

// bodies are the sizes of responses by name.
func bodies() map[string]int { return map[string]int{"tiny": 2, "1k": 1 << 10, "64k": 64 << 10} }

// workers is how many threads or processes each proxy gets.
func workers() int { return runtime.NumCPU() }
