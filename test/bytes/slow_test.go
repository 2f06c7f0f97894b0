package bytes

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/world"
)

const (
	slowReads = 40      // how many reads are slow
	slowBytes = 1 << 10 // what a slow read takes at most
	slowEvery = 20 * time.Millisecond
)

// paced reads slowly at first, where the stage says so: through a small window,
// a kilobyte at a time.
func (s *stage) paced(c *net.TCPConn) io.Reader {
	if !s.slow {
		return c
	}
	_ = c.SetReadBuffer(4 << 10)
	return &slowReader{from: c, left: slowReads}
}

type slowReader struct {
	from io.Reader
	tick *time.Ticker
	left int // slow reads to come
}

// Read implements io.Reader.
func (r *slowReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return r.from.Read(p)
	}
	if r.tick == nil {
		r.tick = time.NewTicker(slowEvery)
	}
	<-r.tick.C
	if r.left--; r.left == 0 {
		r.tick.Stop()
	}
	return r.from.Read(p[:min(len(p), slowBytes)])
}

// TestSlowReaders: clients and servers that take little for a while. What was
// sent meanwhile waits in the sender, not in the node, and arrives in the end.
func TestSlowReaders(t *testing.T) {
	const connections, size = 400, 256 << 10
	// The kernel's buffers are small, so that waiting bytes cannot all wait there.
	s := newStage(t, world.PodConfig{Sysctls: map[string]string{
		"ipv4/tcp_wmem": "4096 16384 65536", "ipv4/tcp_rmem": "4096 32768 65536",
	}})
	s.slow = true
	calls, streams := s.serveCalls(), s.serveStreams()
	s.forgetPeak()
	s.each(connections, func(i int) error {
		id, k := uint64(i), i/2
		if i%2 == 0 {
			return s.stream(streams, streamHead{order(k) % orders, id, size, size})
		}
		return s.calls(calls, []call{{id: id, up: size, down: size, upChunked: k%2 == 0, downChunked: k/2%2 == 0, duplex: k/4%2 == 0, last: true}})
	})
	s.checkPeak("400 connections with slow readers on both sides")
	s.checkQuiet()
}
