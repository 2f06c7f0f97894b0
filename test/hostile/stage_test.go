package hostile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

const (
	// maxResident is what the node may have resident at its peak, the files that
	// it maps included.
	maxResident = 150 << 20
	// patience bounds every wait for the node, on a machine that is busy.
	patience = 60 * time.Second
)

// The ports of the server pod.
const (
	scriptPort    = 8080 // see scripts
	cataloguePort = 8081
	plainPort     = 8082 // net/http or nginx
	nobodysPort   = 8083
)

// stage is a node with a hostile client and a hostile server, and a good client
// of a good server that must not notice.
type stage struct {
	*world.T
	t              *testing.T
	client, server *world.Pod
	node           *world.Node
	good           *goodClient
	files          int // that the node had open before
}

func newStage(t *testing.T) *stage {
	w := world.ForTest(t, world.Config{})
	s := &stage{T: w, t: t}
	// The kernel's buffers are small, so that floods soon have to wait.
	small := world.PodConfig{Sysctls: map[string]string{"ipv4/tcp_wmem": "4096 16384 131072", "ipv4/tcp_rmem": "4096 65536 131072"}}
	s.client, s.server = w.Pod("client", small), w.Pod("server", small)
	person, honest := w.Pod("good", world.PodConfig{}), w.Pod("honest", world.PodConfig{})
	if _, err := honest.HTTPPeer(t.Context(), 8080, peer.Faults{}, ""); err != nil {
		t.Fatal(err)
	}
	fair := s.publish("fair", 8080, honest)
	s.node = w.Node(world.NodeConfig{})
	s.metrics() // this connection stays, and counts as a file
	s.files = s.openFiles()
	s.good = startGood(t, person, "http://"+fair.Addr4()+"/health")
	return s
}

// publish makes an HTTP service of a port of a pod.
func (s *stage) publish(name string, target uint16, pods ...*world.Pod) world.Service {
	s.t.Helper()
	return s.Publish(world.Service{Name: name, Ports: []world.Port{{Port: 80, Target: target, AppProtocol: "http"}}, Endpoints: world.Ready(pods...)})
}

// listed waits until the node's table has text in it.
func (s *stage) listed(text string) {
	s.t.Helper()
	s.Wait(text+" to be live", func() (bool, error) {
		table, err := s.node.Get(s.t.Context(), "/debug/table")
		return strings.Contains(table, text), err
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
func (s *stage) each(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			if err := f(i); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	running.Wait()
}

func (s *stage) metrics() world.Metrics {
	s.t.Helper()
	m, err := s.node.Metrics(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

func (s *stage) openFiles() int {
	s.t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.node.PID))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(list)
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

// checkUnharmed: the good client has noticed nothing, and of all that happened
// nothing is left in the node.
func (s *stage) checkUnharmed() {
	s.t.Helper()
	s.good.stop(s.t)
	if s.node.Ended() {
		s.t.Fatal("the node has ended")
	}
	gauges := []string{
		"proxy_connections_open", "proxy_concurrent_requests", "proxy_backend_live_attempts", "proxy_backend_live_retries",
		"proxy_pool_idle_connections", "proxy_loop_connections", "proxy_loop_coroutines",
	}
	left := ""
	err := world.Wait(s.t.Context(), "the node to be as before", func() (bool, error) {
		left = ""
		m := s.metrics()
		for _, name := range gauges {
			if n := m.Sum(name); n != 0 {
				left += fmt.Sprintf(" %s=%v", name, n)
			}
		}
		if n := s.openFiles(); n > s.files {
			left += fmt.Sprintf(" files=%d, before %d", n, s.files)
		}
		return left == "", nil
	})
	if err != nil {
		s.t.Errorf("%v: left are%s", err, left)
	}
	if n := s.metrics().Sum("proxy_loop_panics_total"); n != 0 {
		s.t.Errorf("%v panics", n)
	}
	peak := s.memory("VmHWM")
	s.t.Logf("at most %.1f MiB were resident, %.1f MiB are", float64(peak)/(1<<20), float64(s.memory("VmRSS"))/(1<<20))
	if peak > maxResident {
		s.t.Errorf("the node had %d bytes resident, more than %d", peak, maxResident)
	}
}

// goodClient sends requests all the time; each must be answered.
type goodClient struct {
	client         *http.Client
	end            chan struct{}
	running        sync.WaitGroup
	answered, lost atomic.Int64
	first          atomic.Pointer[string] // the first failure
}

func startGood(t *testing.T, from *world.Pod, url string) *goodClient {
	g := &goodClient{client: from.HTTPClient(), end: make(chan struct{})}
	g.client.Timeout = patience
	for range 4 {
		g.running.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-g.end:
					return
				case <-tick.C:
					g.one(url)
				}
			}
		})
	}
	t.Cleanup(func() { g.halt() })
	return g
}

func (g *goodClient) one(url string) {
	resp, err := g.client.Get(url)
	if errors.Is(err, syscall.EHOSTUNREACH) {
		return // past the node: see stage.dial
	}
	what := fmt.Sprint(err)
	if err == nil {
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && resp.StatusCode == 200 && string(body) == "ok" {
			g.answered.Add(1)
			return
		}
		what = fmt.Sprintf("%s %v %q %v", resp.Status, resp.Header, body, err)
	}
	g.lost.Add(1)
	g.first.CompareAndSwap(nil, &what)
}

func (g *goodClient) halt() {
	select {
	case <-g.end:
	default:
		close(g.end)
	}
	g.running.Wait()
	g.client.CloseIdleConnections()
}

func (g *goodClient) stop(t *testing.T) {
	t.Helper()
	g.halt()
	t.Logf("the good client had %d answers", g.answered.Load())
	if g.lost.Load() > 0 || g.answered.Load() == 0 {
		t.Errorf("the good client had %d answers and lost %d: %s", g.answered.Load(), g.lost.Load(), *g.first.Load())
	}
}
