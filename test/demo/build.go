package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
	"golang.org/x/sys/unix"
)

// routeFile is the name of the route in the directory of policy.
const routeFile = "route-api.yaml"

//go:embed route.yaml
var route string

// rule is the text of one rule of the route.
func rule(name string) string {
	_, rest, _ := strings.Cut(route, "  - name: "+name+"\n")
	text := "  - name: " + name + "\n"
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "    ") {
			break
		}
		text += line
	}
	return text
}

// Where the pods listen.
const (
	apiPort   = 8080
	cachePort = 6379
)

// version is one version of the API: a pod with a server in it.
type version struct {
	*world.Pod
	server *world.HTTPPeer
}

// demo is the world with everything in it, and what was counted so far. One
// goroutine owns it.
type demo struct {
	options
	*screen

	// set by build
	world            *world.World
	client1, client2 *world.Pod
	v1, v2, v3       version
	cache1, cache2   *world.Pod
	api, cache       world.Service
	kubeProxy        bool
	node             *world.Node
	health           *healthLog

	// what the demo itself counted
	ledger ledger
	kept   bool
}

// url is a path of the API, at the service's address.
func (d *demo) url(path string) string { return "http://" + d.api.Addr4() + path }

// build makes the pods, the policy and the node.
func (d *demo) build(ctx context.Context) error {
	fmt.Fprintln(d.out, d.paint(bold, "Culvert, shown on this machine"))
	d.note("%s, %d CPUs. One node made of network namespaces: the network of this machine is not touched.", kernel(), runtime.NumCPU())
	d.step("A world")
	// Without nft the services' addresses need Culvert, which is the harder case.
	_, err := exec.LookPath("nft")
	d.kubeProxy = err == nil
	if d.world, err = world.New(world.Config{Binary: d.binary, KubeProxy: d.kubeProxy}); err != nil {
		return err
	}
	for _, build := range []func(context.Context) error{d.buildPods, d.publish, d.startNode} {
		if err := errors.Join(ctx.Err(), build(ctx)); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) buildPods(ctx context.Context) (err error) {
	for _, p := range []struct {
		name string
		into **world.Pod
	}{
		{"client-1", &d.client1}, {"client-2", &d.client2},
		{"api-v1", &d.v1.Pod}, {"api-v2", &d.v2.Pod}, {"api-v3", &d.v3.Pod},
		{"cache-1", &d.cache1}, {"cache-2", &d.cache2},
	} {
		if *p.into, err = d.world.Pod(p.name, world.PodConfig{}); err != nil {
			return err
		}
	}
	for _, v := range []*version{&d.v1, &d.v2, &d.v3} {
		if v.server, err = v.HTTPPeer(ctx, apiPort, peer.Faults{}, v.Name); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	for _, p := range []*world.Pod{d.cache1, d.cache2} {
		if _, err := p.Start(context.WithoutCancel(ctx), world.Command{Args: []string{self, "cache", fmt.Sprintf(":%d", cachePort), p.Name}}); err != nil {
			return err
		}
		if err := p.WaitListen(ctx, cachePort); err != nil {
			return err
		}
	}
	d.text("pods      %-10s %-12s clients: programs that know nothing of Culvert", d.client1.Name, d.client1.IP4)
	d.text("          %-10s %s", d.client2.Name, d.client2.IP4)
	d.text("          %-10s %-12s three versions of an API, HTTP on port %d", d.v1.Name, d.v1.IP4, apiPort)
	d.text("          %-10s %s", d.v2.Name, d.v2.IP4)
	d.text("          %-10s %-12s this one is flaky, on demand", d.v3.Name, d.v3.IP4)
	d.text("          %-10s %-12s a service with a TCP protocol of its own, port %d", d.cache1.Name, d.cache1.IP4, cachePort)
	d.text("          %-10s %s", d.cache2.Name, d.cache2.IP4)
	return nil
}

// publish writes the directory of policy.
func (d *demo) publish(context.Context) (err error) {
	http := []world.Port{{Name: "http", Port: 80, Target: apiPort, AppProtocol: "http"}}
	for _, s := range []struct {
		world.Service
		into *world.Service
	}{
		{world.Service{Name: "api", Ports: http, Endpoints: world.Ready(d.v1.Pod, d.v2.Pod, d.v3.Pod)}, &d.api},
		{world.Service{Name: "api-v1", Ports: http, Endpoints: world.Ready(d.v1.Pod)}, nil},
		{world.Service{Name: "api-v2", Ports: http, Endpoints: world.Ready(d.v2.Pod)}, nil},
		{world.Service{Name: "cache", Ports: []world.Port{{Name: "redis", Port: cachePort}}, Endpoints: world.Ready(d.cache1, d.cache2)}, &d.cache},
	} {
		out, err := d.world.Publish(s.Service)
		if err != nil {
			return err
		}
		if s.into != nil {
			*s.into = out
		}
	}
	if err := d.world.WritePolicy(routeFile, route); err != nil {
		return err
	}
	d.text("services  %-10s %-12s port 80: HTTP, routed as %s says", "api", d.api.VIP4, routeFile)
	d.text("          %-10s %-12s port %d: opaque TCP", "cache", d.cache.VIP4, cachePort)
	return nil
}

// startNode checks the policy and starts Culvert on it.
func (d *demo) startNode(ctx context.Context) error {
	files, err := os.ReadDir(d.world.Policy)
	if err != nil {
		return fmt.Errorf("list policy: %w", err)
	}
	d.text("policy    %d files of ordinary Kubernetes YAML in", len(files))
	d.text("          %s", d.world.Policy)
	binary, err := d.world.Binary()
	if err != nil {
		return err
	}
	d.gap()
	if out, err := d.world.Host.Run(ctx, binary, "check", d.world.Policy); err != nil {
		return fmt.Errorf("check the policy: %w\n%s", err, out)
	}
	d.claim(true, "culvert check: nothing is wrong with the policy")
	begun := time.Now()
	if err := d.launch(ctx); err != nil {
		return err
	}
	took := time.Since(begun)
	m, err := d.node.Metrics(ctx)
	if err != nil {
		return err
	}
	enrolled := m.Sum("culvert_workloads", "state", "enrolled")
	d.claim(enrolled == 7, "culvert node: ready after %s, kernel hooks attached, %s pods enrolled", millis(took), count(enrolled))
	return d.writeMark()
}

// launch starts the node process; the demo reads its log.
func (d *demo) launch(ctx context.Context) (err error) {
	bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if d.health == nil {
		d.health = &healthLog{}
	}
	d.node, err = d.world.StartNode(bounded, world.NodeConfig{Log: d.health})
	return err
}

// close removes everything and makes sure that it is gone.
func (d *demo) close() error {
	if d.world == nil {
		return world.Leave()
	}
	err := errors.Join(d.world.Close(), world.Leave())
	for _, pattern := range []string{
		filepath.Join("/run/netns", d.world.ID()+"-*"), d.world.Cgroup, filepath.Dir(d.world.Policy),
	} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			err = errors.Join(err, fmt.Errorf("clean up: left %s", strings.Join(left, ", ")))
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), filepath.Dir(d.world.Policy)) {
		err = errors.Join(err, errors.New("clean up: left a mount"))
	}
	return err
}

// kernel is the kernel's name for the first line.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "Linux"
	}
	return "Linux " + unix.ByteSliceToString(u.Release[:])
}
