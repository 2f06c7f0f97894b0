package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// The ports of every service, and where its servers listen.
const (
	httpPort   = 80 // HTTP, declared
	rawPort    = 90 // nothing declared: detected
	opaquePort = 91 // TCP, declared: the kernel chooses
	httpTarget = 8080
	tcpTarget  = 9000
)

func ports() []world.Port {
	return []world.Port{
		{Name: "http", Port: httpPort, Target: httpTarget},
		{Name: "raw", Port: rawPort, Target: tcpTarget},
		{Name: "opaque", Port: opaquePort, Target: tcpTarget, AppProtocol: "tcp"},
	}
}

// at is where clients dial a service.
func at(vip netip.Addr, port uint16) string { return netip.AddrPortFrom(vip, port).String() }

// server is one endpoint: HTTP and TCP echo, on a pod. It runs in the test's own
// process, which can ask it what it has seen.
type server struct {
	pod *world.Pod

	http     *http.Server
	tcp      net.Listener
	requests atomic.Int64 // of both kinds
	serving  sync.WaitGroup
}

// serve starts a server on a pod; its name is in every answer.
func serve(t *testing.T, pod *world.Pod, name string) *server {
	t.Helper()
	s := &server{pod: pod}
	web, err := pod.Listen("tcp", ":"+strconv.Itoa(httpTarget))
	if err != nil {
		t.Fatal(err)
	}
	if s.tcp, err = pod.Listen("tcp", ":"+strconv.Itoa(tcpTarget)); err != nil {
		t.Fatal(err)
	}
	answers := &peer.Server{Name: name}
	s.http = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		answers.ServeHTTP(w, r)
	})}
	echo := &peer.TCPServer{}
	s.serving.Go(func() {
		if err := s.http.Serve(web); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	s.serving.Go(func() {
		if err := echo.Serve(countingListener{s.tcp, &s.requests}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// stop ends the server as a good one ends: requests that it has are answered.
// What still comes is refused.
func (s *server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.http.Shutdown(ctx)
	_ = s.tcp.Close()
	s.serving.Wait()
}

// settle waits until nobody sends requests to a server that has left its
// services: until clients made many exchanges and none was with it.
func (s *server) settle(tr *traffic) {
	tr.t.Helper()
	for {
		before := s.requests.Load()
		tr.flow(60)
		if s.requests.Load() == before {
			return
		}
	}
}

// countingListener counts what it accepts.
type countingListener struct {
	net.Listener
	n *atomic.Int64
}

// Accept implements net.Listener.
func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

// steady are the clients that every test runs: each way through Culvert.
func steady(from *world.Pod, vip4, vip6 netip.Addr) []client {
	web4, web6 := at(vip4, httpPort), at(vip6, httpPort)
	const pace = 4 * time.Millisecond
	return []client{
		{"GET keep-alive", 2, pace, func() exchanger { return &httpClient{dial: from.Dial, addr: web4} }},
		{"GET keep-alive, IPv6", 2, pace, func() exchanger { return &httpClient{dial: from.Dial, addr: web6} }},
		{"POST keep-alive", 2, pace, func() exchanger {
			return &httpClient{dial: from.Dial, addr: web4, body: "a body that is not empty"}
		}},
		{"GET new connections", 2, pace, func() exchanger { return &httpClient{dial: from.Dial, addr: web4, single: true} }},
		{"TCP detected", 2, pace, func() exchanger { return &echoClient{dial: from.Dial, addr: at(vip4, rawPort)} }},
		{"TCP kernel's choice", 2, pace, func() exchanger { return &echoClient{dial: from.Dial, addr: at(vip4, opaquePort)} }},
		{"TCP kernel's, IPv6", 1, pace, func() exchanger { return &echoClient{dial: from.Dial, addr: at(vip6, opaquePort)} }},
	}
}

// town is a world with one client, two servers that stay, and a service of both.
type town struct {
	*world.T
	t       *testing.T
	client  *world.Pod
	servers []*server
	service world.Service
}

func newTown(t *testing.T, c world.Config) *town {
	t.Helper()
	c.Binary = flag.Lookup("binary").Value.String()
	w := world.ForTest(t, c)
	town := &town{T: w, t: t, client: w.Pod("client", world.PodConfig{})}
	var pods []*world.Pod
	for _, name := range []string{"one", "two"} {
		pod := w.Pod(name, world.PodConfig{})
		town.servers = append(town.servers, serve(t, pod, name))
		pods = append(pods, pod)
	}
	town.service = w.Publish(world.Service{Name: "shop", Ports: ports(), Endpoints: world.Ready(pods...)})
	return town
}

// start starts the node, before everything else on the machine. A node that gets
// no processor for 200 ms is away, by its stances; whether others are that greedy
// is not what is tested here.
func (w *town) start(c world.NodeConfig) *world.Node {
	w.t.Helper()
	wait := !c.NotReady
	c.NotReady = true
	n := w.Node(c)
	favour(w.t, n.PID)
	if wait {
		check(w.t, n.WaitReady(w.t.Context()))
	}
	return n
}

// favour raises the priority of every thread of a process; threads to come
// inherit it.
func favour(t *testing.T, pid int) {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	check(t, err)
	for _, task := range tasks {
		if tid, err := strconv.Atoi(task.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, -20) // it may have ended
		}
	}
}

// guard publishes a second service of the same servers, whose stance is closed.
func (w *town) guard() world.Service {
	w.t.Helper()
	return w.Publish(world.Service{Name: "guarded", Ports: ports(), Endpoints: w.service.Endpoints,
		Annotations: map[string]string{"culvert.dev/stance": "closed"}})
}

// traffic starts the steady clients.
func (w *town) traffic() *traffic {
	return startTraffic(w.t, steady(w.client, w.service.VIP4, w.service.VIP6)...)
}
