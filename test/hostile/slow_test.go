package hostile

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/world"
)

// soon is when a client that might get nothing gives up.
func soon() time.Time { return time.Now().Add(50 * time.Millisecond) }

// drip are clients that are as slow as they can be (slowloris): they send a head
// or a body a byte at a time, or take nothing of a response.
type drip struct {
	s            *stage
	heads, other []*net.TCPConn
	end, ended   chan struct{}
}

const (
	slowHeads, slowBodies, slowReaders = 300, 200, 200
)

// startDrip opens the connections, and drips until finish.
func (s *stage) startDrip(to world.Service) *drip {
	s.t.Helper()
	d := &drip{s: s, end: make(chan struct{}), ended: make(chan struct{})}
	open := func(n int, text string) (list []*net.TCPConn) {
		for range n {
			c, err := s.dial(to)
			if err == nil {
				_, err = io.WriteString(c, text)
			}
			if err != nil {
				s.t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(4 * patience))
			list = append(list, c)
		}
		return list
	}
	d.heads = open(slowHeads, "GET /slow HTTP/1.1\r\nHost: evil\r\nX: ")
	d.other = append(open(slowBodies, "POST /slow HTTP/1.1\r\nHost: evil\r\nContent-Length: 1000000\r\n\r\n"),
		open(slowReaders, "GET /endless-body HTTP/1.1\r\nHost: evil\r\n\r\n")...)
	go d.run()
	s.t.Cleanup(d.stop)
	return d
}

func (d *drip) run() {
	defer close(d.ended)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-d.end:
			return
		case <-tick.C:
		}
		for _, c := range d.heads {
			_, _ = c.Write([]byte{'x'}) // some are answered by now
		}
		for _, c := range d.other[:slowBodies] {
			_, _ = c.Write([]byte{'x'})
		}
	}
}

func (d *drip) stop() {
	select {
	case <-d.end:
	default:
		close(d.end)
	}
	<-d.ended
	for _, c := range append(d.heads, d.other...) {
		c.Close()
	}
}

// finish: heads that do not come to an end are answered in time, however the
// bytes trickle. Slow bodies and readers are still served.
func (d *drip) finish(t *testing.T) {
	t.Logf("%.1f MiB resident with %d slow clients", float64(d.s.memory("VmRSS"))/(1<<20), slowHeads+slowBodies+slowReaders)
	d.s.each(t, len(d.heads), func(i int) error { return readStatus(d.heads[i], 408, "client_timeout") })
	d.s.each(t, slowReaders, func(i int) error {
		if n, err := io.CopyN(io.Discard, d.other[slowBodies+i], 200_000); err != nil {
			return fmt.Errorf("a slow reader got %d bytes: %w", n, err)
		}
		return nil
	})
	if n := d.s.metrics().Sum("proxy_concurrent_requests", "service", "default/evil:80"); n != slowBodies+slowReaders {
		t.Errorf("%v requests are under way, want those of %d slow bodies and %d slow readers", n, slowBodies, slowReaders)
	}
	d.stop()
}
