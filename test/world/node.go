package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Every world's node has its own loopback, so the ports are always these.
const (
	adminAddr   = "127.0.0.1:15000"
	metricsAddr = "127.0.0.1:15020"
)

// NodeConfig says how a culvert node is started.
type NodeConfig struct {
	// Args are added to the flags that name the world.
	Args []string
	// Env is added to the environment (GOMEMLIMIT, GODEBUG and the like).
	Env []string
	// NotReady returns as soon as the process runs, not when it is ready.
	NotReady bool
	// Log gets the node's log too, beside Node.Output.
	Log io.Writer
}

// Node is a running `culvert node`.
type Node struct {
	*Process
	world  *World
	client *http.Client
}

// Binary is the culvert binary, built from this module on first use.
func (w *World) Binary() (string, error) {
	if w.config.Binary != "" {
		return w.config.Binary, nil
	}
	return buildNode()
}

// Flags are the arguments of `culvert node` that name this world's places.
func (w *World) Flags() []string {
	return []string{
		"--policy", w.Policy, "--node-name", w.config.NodeName, "--state-dir", w.State,
		"--bpffs", w.BPFFS, "--cgroup-root", w.Cgroup,
		"--admin", adminAddr, "--metrics", metricsAddr,
	}
}

// StartNode starts Culvert on this node and waits until it is ready. One node
// at a time, except where a test is about two.
func (w *World) StartNode(ctx context.Context, c NodeConfig) (*Node, error) {
	binary, err := w.Binary()
	if err != nil {
		return nil, err
	}
	args := append([]string{binary, "node"}, append(w.Flags(), c.Args...)...)
	// The node outlives ctx, which bounds the start: Stop, Kill or Close end it.
	p, err := w.Host.Start(context.WithoutCancel(ctx), Command{Args: args, Env: c.Env, Stderr: c.Log, Stdout: c.Log})
	if err != nil {
		return nil, err
	}
	n := &Node{Process: p, world: w, client: w.Host.localClient()}
	w.mu.Lock()
	w.nodes = append(w.nodes, n)
	w.mu.Unlock()
	if c.NotReady {
		return n, nil
	}
	if err := n.WaitReady(ctx); err != nil {
		p.Kill()
		return nil, err
	}
	return n, nil
}

// WaitReady waits until /readyz says so. It fails at once when the process ends.
func (n *Node) WaitReady(ctx context.Context) error {
	var last string
	err := Wait(ctx, "the node to be ready", func() (bool, error) {
		if n.Ended() {
			return false, fmt.Errorf("the node ended: %v\n%s", n.err, lastLines(n.Output(), 30))
		}
		text, err := n.Get(ctx, "/readyz")
		last = text
		return err == nil, nil
	})
	if err != nil && !n.Ended() {
		return fmt.Errorf("%w (last answer %q)\n%s", err, last, lastLines(n.Output(), 30))
	}
	return err
}

// Get reads a path of the admin port: "/debug/table", "/readyz". An answer
// that is not 200 is an error, and its body is returned as well.
func (n *Node) Get(ctx context.Context, path string) (string, error) {
	return n.get(ctx, "http://"+adminAddr+path)
}

// Metrics reads and parses /metrics.
func (n *Node) Metrics(ctx context.Context) (Metrics, error) {
	text, err := n.get(ctx, "http://"+metricsAddr+"/metrics")
	if err != nil {
		return nil, err
	}
	return ParseMetrics(text)
}

func (n *Node) get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return string(body), err
}

// RSS is the resident memory of the process in bytes, file pages excluded
// (RssAnon): what the process itself uses.
func (n *Node) RSS() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "RssAnon:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("read memory: no RssAnon")
}

// Uninstall runs `culvert node --uninstall`, which removes every trace of
// capture from this world.
func (w *World) Uninstall(ctx context.Context) error {
	binary, err := w.Binary()
	if err != nil {
		return err
	}
	args := append([]string{binary, "node", "--uninstall"}, w.Flags()...)
	_, err = w.Host.Run(ctx, args...)
	return err
}

// localClient reaches ports on the place's own loopback. It dials in process:
// nothing captures the node itself.
func (p *Place) localClient() *http.Client {
	dial := func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		err = p.Do(func() (err error) {
			c, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			return err
		})
		return c, err
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dial}}
}
