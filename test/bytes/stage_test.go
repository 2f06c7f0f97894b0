package bytes

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/world"
)

// maxResident is what the node may have resident at its peak, the files that it
// maps included.
const maxResident = 100 << 20

// patience bounds what a connection of a test may take.
const patience = 90 * time.Second

// stage is a node between a client and a server.
type stage struct {
	*world.T
	t              *testing.T
	client, server *world.Pod
	http, tcp      world.Service
	node           *world.Node
	block          []byte
	slow           bool // both ends read slowly at first
}

// The ports that the two kinds of servers listen on.
const (
	httpPort = 8080
	tcpPort  = 9000
)

func newStage(t *testing.T, pods world.PodConfig) *stage {
	w := world.ForTest(t, world.Config{})
	s := &stage{T: w, t: t, block: newBlock()}
	s.client, s.server = w.Pod("client", pods), w.Pod("server", pods)
	s.http = w.Publish(world.Service{Name: "web", Ports: []world.Port{{Port: 80, Target: httpPort, AppProtocol: "http"}},
		Endpoints: world.Ready(s.server)})
	// Nothing is declared, so the proxy has to find out that this is no HTTP.
	s.tcp = w.Publish(world.Service{Name: "stream", Ports: []world.Port{{Port: tcpPort}}, Endpoints: world.Ready(s.server)})
	s.node = w.Node(world.NodeConfig{})
	return s
}

// serve runs handle for each connection to a port of the server, until the test
// ends. handle need not close its connection.
func (s *stage) serve(port uint16, handle func(*net.TCPConn)) {
	s.t.Helper()
	l, err := s.server.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		s.t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				handle(c.(*net.TCPConn))
			})
		}
	})
	s.t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
}

// dial connects as a program in the client's pod would. A machine so busy that
// the node's heartbeat is late lets a connection go past the node, where no such
// address exists: then again.
func (s *stage) dial(to world.Service) (c *net.TCPConn, err error) {
	err = world.Wait(s.t.Context(), "a connection that the node has captured", func() (bool, error) {
		conn, err := s.client.Dial(s.t.Context(), "tcp", to.Addr4())
		if errors.Is(err, syscall.EHOSTUNREACH) {
			return false, nil
		}
		if err == nil {
			c = conn.(*net.TCPConn)
			err = c.SetDeadline(time.Now().Add(patience))
		}
		return true, err
	})
	return c, err
}

// each runs f for 0..n-1 at the same time and reports every error.
func (s *stage) each(n int, f func(i int) error) {
	s.t.Helper()
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			if err := f(i); err != nil {
				s.t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	running.Wait()
}

// forgetPeak lets the kernel measure the node's peak anew (proc(5), clear_refs).
func (s *stage) forgetPeak() {
	s.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.node.PID), []byte("5"), 0); err != nil {
		s.t.Fatal(err)
	}
}

// checkPeak: the node's memory has stayed below the ceiling since forgetPeak.
func (s *stage) checkPeak(what string) {
	s.t.Helper()
	peak, now := s.memory("VmHWM"), s.memory("VmRSS")
	s.t.Logf("%s: %.1f MiB resident at most, %.1f MiB now", what, mebi(peak), mebi(now))
	if peak > maxResident {
		s.t.Errorf("%s: the node had %.1f MiB resident, more than %.1f", what, mebi(peak), mebi(maxResident))
	}
}

// memory is a line of the node's /proc status, in bytes.
func (s *stage) memory(name string) int64 {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.node.PID))
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("\n"+name+":"))
	line, _, _ := bytes.Cut(rest, []byte(" kB"))
	kib, err := strconv.ParseInt(strings.TrimSpace(string(line)), 10, 64)
	if err != nil {
		s.t.Fatalf("read %s: %v", name, err)
	}
	return kib << 10
}

func mebi(n int64) float64 { return float64(n) / (1 << 20) }

// checkQuiet: the node holds nothing of what went through it.
func (s *stage) checkQuiet() {
	s.t.Helper()
	s.Wait("the node to hold no connection and no request", func() (bool, error) {
		m, err := s.node.Metrics(s.t.Context())
		if err != nil {
			return false, err
		}
		return m.Sum("proxy_connections_open") == 0 && m.Sum("proxy_concurrent_requests") == 0 &&
			m.Sum("proxy_backend_live_attempts") == 0, nil
	})
}
