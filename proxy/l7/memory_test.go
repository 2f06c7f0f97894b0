package l7_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/proxy/l7"
	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

const (
	crowd      = 24        // of transfers that nobody takes
	crowdBody  = 1 << 20   // more than the kernel holds of each
	crowdBound = 256 << 10 // less than they would hold
	overshoot  = 2 * 68 << 10
	// kernelHolds is what a socket's buffers are made to hold: less would make the
	// kernel wait for windows and acknowledgements.
	kernelHolds = 64 << 10
)

// tight is a dialer whose sockets hold little of what nobody takes.
type tight struct{ proxytest.Sockets }

func (d tight) Socket(workload uint32, ipv6 bool) (int, error) {
	fd, err := d.Sockets.Socket(workload, ipv6)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, kernelHolds)
	}
	return fd, err
}

// stalled is one transfer that waits for its receiver.
type stalled struct {
	client, server *proxytest.Peer
	sent           chan error
}

// tightWorld has one endpoint, and a bound on what buffers hold.
func tightWorld(t *testing.T) (*world, *proxytest.Server) {
	w := newWorldOf(t, l7.Limits{BufferBytes: crowdBound}, tight{})
	endpoint := proxytest.Listen(t)
	w.apply(nil, at(backend, endpoint.Addr()))
	return w, endpoint
}

func (w *world) held() (n int) {
	w.reactor.Do(0, func() { n = w.engine.Held() })
	return n
}

// awaitHeld waits until buffers hold at least so much, and checks that it is
// never more than the bound and what may come on top.
func (w *world) awaitHeld(least int) {
	w.t.Helper()
	late := time.After(20 * time.Second)
	for {
		n := w.held()
		if n > crowdBound+overshoot {
			w.t.Fatalf("buffers hold %d bytes", n)
		}
		if n >= least {
			return
		}
		select {
		case <-late:
			w.t.Fatalf("buffers hold %d bytes, want %d for the test", n, least)
		case <-time.After(time.Millisecond):
		}
	}
}

// down begins a response that the client does not read.
func down(w *world, endpoint *proxytest.Server, data string) *stalled {
	client, o := w.dial()
	_ = client.Conn().SetReadBuffer(kernelHolds)
	_ = unix.SetsockoptInt(o.conn.RawFD(), unix.SOL_SOCKET, unix.SO_SNDBUF, kernelHolds)
	client.Send(get("/"))
	s := &stalled{client: client, server: endpoint.Accept(), sent: make(chan error, 1)}
	s.server.Expect(get("/"))
	go func() {
		_, err := s.server.Conn().Write([]byte(ok(data)))
		s.sent <- err
	}()
	return s
}

// up begins a request that the endpoint does not read.
func up(w *world, endpoint *proxytest.Server, data string) *stalled {
	client, _ := w.dial()
	head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: %d\r\n\r\n", len(data))
	client.Send(head)
	s := &stalled{client: client, server: endpoint.Accept(), sent: make(chan error, 1)}
	_ = s.server.Conn().SetReadBuffer(kernelHolds)
	s.server.Expect(head)
	go func() {
		_, err := client.Conn().Write([]byte(data))
		s.sent <- err
	}()
	return s
}

// TestStalledBodiesAreBounded: many receivers that take nothing make the loop hold
// no more than the bound and a small buffer each, and nobody's body suffers.
func TestStalledBodiesAreBounded(t *testing.T) {
	data := strings.Repeat("0123456789abcdef", crowdBody/16)
	for name, begin := range map[string]func(*world, *proxytest.Server, string) *stalled{"down": down, "up": up} {
		t.Run(name, func(t *testing.T) {
			w, endpoint := tightWorld(t)
			var all []*stalled
			for range crowd {
				all = append(all, begin(w, endpoint, data))
			}
			w.awaitHeld(crowdBound)
			late := begin(w, endpoint, data) // it finds no room
			for _, s := range append([]*stalled{late}, all...) {
				receiver := s.client
				if name == "up" {
					receiver = s.server
				} else {
					receiver.Until("\r\n\r\n")
				}
				_ = receiver.Conn().SetReadBuffer(1 << 20)
				if string(receiver.Bytes(len(data))) != data {
					t.Fatal("the body differs")
				}
				if err := <-s.sent; err != nil {
					t.Fatal(err)
				}
				w.awaitHeld(0)
				if name == "up" {
					s.server.Send(ok("x"))
					s.client.Expect(ok("x"))
				}
			}
			w.reactor.Settle()
			if n := w.held(); n != 0 {
				t.Errorf("buffers hold %d bytes when all is done", n)
			}
		})
	}
}

// TestCrowdOfLargeHeads: clients that send large heads, and not to their end, are
// refused when there are many; others are served, and when they have gone, all.
func TestCrowdOfLargeHeads(t *testing.T) {
	w := newWorldOf(t, l7.Limits{BufferBytes: 64 << 10}, tight{})
	endpoint := proxytest.Listen(t)
	w.apply(nil, at(backend, endpoint.Addr()))
	large := "GET / HTTP/1.1\r\nHost: cart\r\nCookie: " + strings.Repeat("x", 20<<10)
	var crowd []*proxytest.Peer
	for range 4 { // four of 68 KiB are more than 256 KiB
		client, _ := w.dial()
		client.Send(large)
		crowd = append(crowd, client)
	}
	w.awaitHeld(4 * 68 << 10)
	client, o := w.dial()
	client.Send(large)
	head := client.Until("\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 431 ") || !strings.Contains(head, "x-culvert-reason: head_too_large\r\n") {
		t.Errorf("got %q", head)
	}
	client.Close()
	o.over(telemetry.HeadTooLarge)
	small, _ := w.dial()
	small.Send(get("/"))
	server := endpoint.Accept()
	server.Expect(get("/"))
	server.Send(ok("x"))
	small.Expect(ok("x"))
	for i, client := range crowd { // all were there before
		client.Send("\r\n\r\n")
		server.Until("x\r\n\r\n")
		server.Send(ok("x"))
		client.Expect(ok("x"))
		if i == 0 { // and there is room again
			w.reactor.Settle()
			again, _ := w.dial()
			again.Send(large + "\r\n\r\n")
			server.Until("x\r\n\r\n")
			server.Send(ok("x"))
			again.Expect(ok("x"))
		}
	}
	w.reactor.Settle()
	if n := w.held(); n != 0 {
		t.Errorf("buffers hold %d bytes when all is done", n)
	}
}
