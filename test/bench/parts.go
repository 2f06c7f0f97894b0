package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// httpCells measures requests over keep-alive connections, as many as come
// back: wrk in a closed loop.
func (f *field) httpCells(ctx context.Context) error {
	for _, n := range f.connections {
		for _, name := range f.options.bodies {
			cell := httpCell(n, name)
			rounds, err := f.everyRound(ctx, f.contenders, func(c contender) (sample, error) {
				return f.wrk(ctx, "http://"+c.addr+"/"+name, n, f.run)
			})
			if err != nil {
				return fmt.Errorf("%s: %w", cell, err)
			}
			f.table.add(cell, f.contenders, rounds)
		}
	}
	return nil
}

func httpCell(connections int, body string) string {
	return fmt.Sprintf("%d conns, %s", connections, body)
}

// tcpCells measures opaque TCP, 64-byte messages there and back: who takes part
// has an address for it.
func (f *field) tcpCells(ctx context.Context) error {
	var taking []contender
	for _, c := range f.contenders {
		if c.echo != "" {
			taking = append(taking, c)
		}
	}
	for _, reconnect := range []bool{false, true} {
		cell, n := keptConnections, 64
		if reconnect {
			cell, n = "TCP, 16 conns, connect+close", 16
		}
		rounds, err := f.everyRound(ctx, taking, func(c contender) (sample, error) {
			p := peer.PingPong{Addr: c.echo, Connections: n, Duration: f.run / 2, Reconnect: reconnect}
			if reconnect {
				p.Addr = c.once
			}
			return timed(func() (*peer.Result, error) { return f.client.PingPong(ctx, p) })
		})
		if err != nil {
			return fmt.Errorf("%s: %w", cell, err)
		}
		f.table.add(cell, taking, rounds)
	}
	return nil
}

// ratePerSecond of the fixed-rate part is well below what the slowest
// contender can do on two cores.
const ratePerSecond = 2000

// fixedRate measures at a fixed rate, by the clock: what latency and what
// processor time each contender adds while there is room.
func (f *field) fixedRate(ctx context.Context) error {
	rounds, err := f.everyRound(ctx, f.contenders, func(c contender) (sample, error) {
		l := peer.Load{URL: "http://" + c.addr + "/tiny", Rate: ratePerSecond, Workers: 16, Duration: f.run}
		return timed(func() (*peer.Result, error) { return f.client.Load(ctx, l) })
	})
	if err != nil {
		return fmt.Errorf("fixed rate: %w", err)
	}
	f.table.add(fmt.Sprintf("%d/s, 16 conns, tiny", ratePerSecond), f.contenders, rounds)
	return nil
}

// timed adds the machine's processor time to a result of test/peer.
func timed(run func() (*peer.Result, error)) (sample, error) {
	before, err := busyTime()
	if err != nil {
		return sample{}, err
	}
	r, err := run()
	if err != nil {
		return sample{}, err
	}
	if len(r.Errors) > 0 {
		return sample{}, fmt.Errorf("requests failed: %v (%s)", r.Errors, r.FirstError)
	}
	after, err := busyTime()
	if err != nil {
		return sample{}, err
	}
	return sample{perSecond: r.PerSecond(), p50: time.Duration(r.P50), p99: time.Duration(r.P99),
		cpu: (after - before) / time.Duration(max(r.Requests, 1))}, nil
}

// everyRound runs every contender once per round, in an order that turns
// round. The result is by contender, then by round.
func (f *field) everyRound(ctx context.Context, who []contender, run func(contender) (sample, error)) ([][]sample, error) {
	samples := make([][]sample, len(who))
	for round := range f.rounds {
		for i := range who {
			if round%2 == 1 {
				i = len(who) - 1 - i
			}
			s, err := run(who[i])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", who[i].name, err)
			}
			samples[i] = append(samples[i], s)
			progress("  round %d/%d  %-13s %9.0f/s\r", round+1, f.rounds, who[i].name, s.perSecond)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
		}
	}
	progress("%60s\r", "")
	return samples, nil
}

// idleConnections is how many the idle part holds.
const idleConnections = 10_000

// idleMemory measures what an idle keep-alive connection costs the culvert
// process in memory of its own.
func (f *field) idleMemory(ctx context.Context) error {
	if f.node == nil {
		return nil
	}
	addr := ""
	for _, c := range f.contenders {
		if c.name == "culvert" {
			addr = c.addr
		}
	}
	// The first thousand pay for pools and tables; they do not count.
	warm, err := f.holdIdle(ctx, addr, 1000)
	if err != nil {
		return err
	}
	defer warm.Kill()
	before, err := f.memory(ctx)
	if err != nil {
		return err
	}
	held, err := f.holdIdle(ctx, addr, idleConnections)
	if err != nil {
		return err
	}
	defer held.Kill()
	after, err := f.memory(ctx)
	if err != nil {
		return err
	}
	f.table.judgeIdle(float64(after.resident-before.resident)/idleConnections, float64(after.live-before.live)/idleConnections)
	return nil
}

// memory is what the culvert process uses: pages, and the Go heap that is
// still live after a collection.
type memory struct{ resident, live int64 }

func (f *field) memory(ctx context.Context) (m memory, err error) {
	if m.resident, err = f.node.RSS(); err != nil {
		return m, err
	}
	text, err := f.node.Get(ctx, "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		return m, fmt.Errorf("read the heap: %w", err)
	}
	_, after, _ := strings.Cut(text, "# HeapAlloc = ")
	number, _, _ := strings.Cut(after, "\n")
	m.live, err = strconv.ParseInt(number, 10, 64)
	return m, err
}

// holdIdle opens idle connections from the client pod.
func (f *field) holdIdle(ctx context.Context, addr string, n int) (*world.Process, error) {
	binary, err := world.PeerBinary()
	if err != nil {
		return nil, err
	}
	p, err := f.client.Start(ctx, world.Command{Args: []string{binary, "idle", "--addr", addr, "--connections", strconv.Itoa(n)}})
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return p, p.WaitOutput(bounded, "holding")
}
