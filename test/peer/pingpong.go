package peer

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// PingPong measures plain TCP against an echoing TCPServer: each connection
// sends Size bytes, waits until they are back, and sends again.
type PingPong struct {
	Addr string
	// Size of a message in bytes; 0: 64.
	Size int
	// Connections at the same time; 0: 1.
	Connections int
	Duration    time.Duration
	// Reconnect opens a connection for every message; the server should be a
	// TCPServer with Once, which closes first.
	Reconnect bool
}

// Run measures until Duration has passed. Latencies are of whole exchanges;
// with Reconnect, connect and close included. The first fault ends it.
func (p PingPong) Run(ctx context.Context) (*Result, error) {
	p.Size, p.Connections = orElse(p.Size, 64), max(p.Connections, 1)
	start := time.Now()
	results, errs := make([]*Result, p.Connections), make([]error, p.Connections)
	var wg sync.WaitGroup
	for i := range results {
		results[i] = newResult()
		wg.Go(func() { errs[i] = p.work(ctx, start.Add(p.Duration), results[i]) })
	}
	wg.Wait()
	sum := newResult()
	for i, r := range results {
		if errs[i] != nil {
			return nil, errs[i]
		}
		sum.merge(r)
	}
	sum.Elapsed = Duration(time.Since(start))
	sum.P50, sum.P99, sum.Max = Duration(sum.latency.Quantile(0.5)), Duration(sum.latency.Quantile(0.99)), Duration(sum.latency.Max())
	return sum, nil
}

func (p PingPong) work(ctx context.Context, end time.Time, into *Result) error {
	out, in := make([]byte, p.Size), make([]byte, p.Size+1)
	var c net.Conn
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for now := time.Now(); now.Before(end); {
		if c == nil {
			var err error
			if c, err = (&net.Dialer{}).DialContext(ctx, "tcp", p.Addr); err != nil {
				return fmt.Errorf("connect: %w", err)
			}
		}
		if _, err := c.Write(out); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		if _, err := io.ReadFull(c, in[:p.Size]); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if p.Reconnect {
			// The server closes first: wait for it, so that TIME_WAIT is there.
			if n, err := c.Read(in); n != 0 || err != io.EOF {
				return fmt.Errorf("wait for the close: read %d bytes, %v", n, err)
			}
			c.Close()
			c = nil
		}
		next := time.Now()
		into.Requests++
		into.latency.Add(next.Sub(now))
		now = next
	}
	return nil
}
