package world

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
)

// HTTPPeer is a peer.Server that runs as a process in a pod.
type HTTPPeer struct {
	*Process
	pod    *Pod
	client *http.Client
}

// peerAdmin is the admin port of an HTTP peer, on the pod's own loopback.
const peerAdmin = "127.0.0.1:18080"

// HTTPPeer starts an HTTP server in the pod on a port, named after the pod
// unless name is given, and waits until it listens.
func (p *Pod) HTTPPeer(ctx context.Context, port uint16, f peer.Faults, name string) (*HTTPPeer, error) {
	if name == "" {
		name = p.Name
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("write faults: %w", err)
	}
	proc, err := p.peer(ctx, "http", "--listen", fmt.Sprintf(":%d", port), "--admin", peerAdmin, "--name", name, "--faults", string(text))
	if err != nil {
		return nil, err
	}
	return &HTTPPeer{Process: proc, pod: p, client: p.localClient()}, nil
}

// TCPPeer starts a peer.TCPServer in the pod; flags are those of
// `culvert-peer tcp`.
func (p *Pod) TCPPeer(ctx context.Context, port uint16, flags ...string) (*Process, error) {
	return p.peer(ctx, append([]string{"tcp", "--listen", fmt.Sprintf(":%d", port)}, flags...)...)
}

// peer starts a server of the peer binary and waits until it listens.
func (p *Pod) peer(ctx context.Context, args ...string) (*Process, error) {
	binary, err := PeerBinary()
	if err != nil {
		return nil, err
	}
	proc, err := p.Start(context.WithoutCancel(ctx), Command{Args: append([]string{binary}, args...)})
	if err != nil {
		return nil, err
	}
	if err := proc.WaitOutput(ctx, "listening on "); err != nil {
		proc.Kill()
		return nil, err
	}
	return proc, nil
}

// SetFaults changes what the server does wrong.
func (h *HTTPPeer) SetFaults(f peer.Faults) error {
	text, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("write faults: %w", err)
	}
	req, err := http.NewRequest(http.MethodPut, "http://"+peerAdmin+"/faults", strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return fmt.Errorf("set faults of %s: %w", h.pod.Name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("set faults of %s: %s", h.pod.Name, resp.Status)
	}
	return nil
}

// Stats reads the server's counters.
func (h *HTTPPeer) Stats() (peer.Stats, error) {
	var s peer.Stats
	resp, err := h.client.Get("http://" + peerAdmin + "/stats")
	if err != nil {
		return s, fmt.Errorf("read counters of %s: %w", h.pod.Name, err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return s, fmt.Errorf("read counters of %s: %w", h.pod.Name, err)
	}
	return s, nil
}

// Load runs a load from inside the place: in a process of its own in the pod,
// so neither its sockets nor its processor time are the test's. Dial and
// Progress are not used.
func (p *Place) Load(ctx context.Context, l peer.Load) (*peer.Result, error) {
	binary, err := PeerBinary()
	if err != nil {
		return nil, err
	}
	args := []string{binary, "load", "--url", l.URL, "--method", l.Method,
		"--workers", fmt.Sprint(max(l.Workers, 1)), "--rate", fmt.Sprint(l.Rate),
		"--duration", l.Duration.String(), "--requests", fmt.Sprint(l.Requests),
		"--timeout", l.Timeout.String(), "--body", fmt.Sprint(l.Body),
		"--verify=" + fmt.Sprint(l.Verify), "--new=" + fmt.Sprint(l.NewConnection),
		"--reason-header", l.ReasonHeader,
	}
	for name, values := range l.Header {
		for _, v := range values {
			args = append(args, "--header", name+"="+v)
		}
	}
	r := &peer.Result{}
	return r, p.runJSON(ctx, args, r)
}

// PingPong is Load for plain TCP.
func (p *Place) PingPong(ctx context.Context, pp peer.PingPong) (*peer.Result, error) {
	binary, err := PeerBinary()
	if err != nil {
		return nil, err
	}
	r := &peer.Result{}
	return r, p.runJSON(ctx, []string{binary, "pingpong", "--addr", pp.Addr, "--size", fmt.Sprint(max(pp.Size, 1)),
		"--connections", fmt.Sprint(max(pp.Connections, 1)), "--duration", pp.Duration.String(),
		"--reconnect=" + fmt.Sprint(pp.Reconnect)}, r)
}

// runJSON runs a command that writes JSON. A command that is cut off by ctx is
// asked to end (SIGTERM), so that it still writes what it has.
func (p *Place) runJSON(ctx context.Context, args []string, into any) error {
	proc, err := p.Start(context.WithoutCancel(ctx), Command{Args: args})
	if err != nil {
		return err
	}
	select {
	case <-proc.done:
	case <-ctx.Done():
		if err := proc.Stop(15 * time.Second); err != nil {
			return err
		}
	}
	if proc.err != nil {
		return fmt.Errorf("run %s in %s: %w\n%s", args[1], p.Name, proc.err, lastLines(proc.Output(), 20))
	}
	if err := json.Unmarshal([]byte(proc.Output()), into); err != nil {
		return fmt.Errorf("read the result of %s: %w\n%s", args[1], err, lastLines(proc.Output(), 20))
	}
	return nil
}
