package l4_test

import (
	"crypto/sha256"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/l4"
	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }

// pipe is a pipe between two peers.
type pipe struct {
	r                *proxytest.Reactor
	client, upstream *proxytest.Peer
	conns            [2]*reactor.Conn
	result           l4.Result
	ended            <-chan struct{}
}

func start(t *testing.T, c l4.Config) *pipe {
	t.Helper()
	p := &pipe{r: proxytest.Start(t, 1)}
	p.add(t, c)
	return p
}

func (p *pipe) add(t *testing.T, c l4.Config) {
	t.Helper()
	c.Client, p.client = p.r.Pair(t)
	c.Upstream, p.upstream = p.r.Pair(t)
	if c.Buffers == nil {
		c.Buffers = &l4.Buffers{}
	}
	p.conns = [2]*reactor.Conn{c.Client, c.Upstream}
	p.ended = p.r.Go(0, func() { p.result = l4.Pipe(c) })
}

func (p *pipe) want(t *testing.T, want l4.Result) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the pipe does not end")
	}
	if p.result != want {
		t.Errorf("result %+v, want %+v", p.result, want)
	}
	p.r.Do(0, func() {
		if !p.conns[0].Closed() || !p.conns[1].Closed() {
			t.Error("a conn is left open")
		}
	})
}

func TestHalfClose(t *testing.T) {
	p := start(t, l4.Config{})
	p.client.Send("question")
	p.client.CloseWrite()
	p.upstream.Expect("question")
	p.upstream.ExpectEOF()
	p.upstream.Send("answer ")
	p.client.Expect("answer ")
	p.upstream.Send("and more")
	p.upstream.Close()
	p.client.Expect("and more")
	p.client.ExpectEOF()
	p.want(t, l4.Result{In: 8, Out: 15})
}

func TestServerEndsFirst(t *testing.T) {
	p := start(t, l4.Config{})
	p.upstream.Send("greeting")
	p.upstream.CloseWrite()
	p.client.Expect("greeting")
	p.client.ExpectEOF()
	p.client.Send("thanks")
	p.client.Close()
	p.upstream.Expect("thanks")
	p.upstream.ExpectEOF()
	p.want(t, l4.Result{In: 6, Out: 8})
}

func TestBytesReadBefore(t *testing.T) {
	p := start(t, l4.Config{FromClient: []byte("peeked "), FromUpstream: []byte("HELLO ")})
	p.client.Send("bytes")
	p.upstream.Send("WORLD")
	p.upstream.Expect("peeked bytes")
	p.client.Expect("HELLO WORLD")
	p.client.Close()
	p.upstream.ExpectEOF()
	p.upstream.Close()
	p.want(t, l4.Result{In: 12, Out: 11})
}

func TestReset(t *testing.T) {
	cases := map[string]struct {
		do   func(p *pipe)
		want l4.Result
	}{
		"client": {
			func(p *pipe) { p.client.Reset(); p.upstream.ExpectReset() },
			l4.Result{Reason: telemetry.ClientGone, Err: syscall.ECONNRESET},
		},
		"upstream": {
			func(p *pipe) { p.upstream.Reset(); p.client.ExpectReset() },
			l4.Result{Reason: telemetry.UpstreamReset, Err: syscall.ECONNRESET},
		},
		"client, behind its end": {
			func(p *pipe) {
				p.client.Send("x")
				p.client.CloseWrite()
				p.upstream.Expect("x")
				p.upstream.ExpectEOF()
				p.client.Reset()
				// A socket that has read our end reports a reset as EPIPE, and only when it writes.
			},
			l4.Result{In: 1, Reason: telemetry.ClientGone, Err: syscall.ECONNRESET},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := start(t, l4.Config{})
			c.do(p)
			p.want(t, c.want)
		})
	}
}

// TestResetWhileWriting: the side that cannot take more bytes breaks.
func TestResetWhileWriting(t *testing.T) {
	p := start(t, l4.Config{})
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(p.client.Conn(), zeros{}, 64<<20)
		sent <- err
	}()
	p.upstream.Bytes(1 << 20)
	p.upstream.Reset()
	if err := <-sent; err == nil {
		t.Error("64 MB went nowhere")
	}
	<-p.ended
	if p.result.Reason != telemetry.UpstreamReset || p.result.In < 1<<20 {
		t.Errorf("result %+v", p.result)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestIdle(t *testing.T) {
	p := start(t, l4.Config{Idle: time.Minute})
	p.r.Advance(59 * time.Second)
	p.upstream.Send("x")
	p.client.Expect("x")
	p.r.Advance(59 * time.Second)
	p.client.Send("y")
	p.upstream.Expect("y")
	p.r.Advance(61 * time.Second)
	p.client.ExpectReset()
	p.upstream.ExpectReset()
	p.want(t, l4.Result{In: 1, Out: 1, Reason: telemetry.IdleTimeout})
}

func TestLoopEnds(t *testing.T) {
	p := start(t, l4.Config{})
	p.r.End()
	<-p.ended
	if want := (l4.Result{Reason: telemetry.Draining, Err: net.ErrClosed}); p.result != want {
		t.Errorf("result %+v, want %+v", p.result, want)
	}
	p.client.ExpectEOF()
}

// TestBytesLive: the meter moves while the pipe runs.
func TestBytesLive(t *testing.T) {
	var m meter
	p := start(t, l4.Config{Meter: &m})
	p.client.Send("12345")
	p.upstream.Expect("12345")
	p.upstream.Send("123")
	p.client.Expect("123")
	p.r.Do(0, func() {
		if m != (meter{in: 5, out: 3}) {
			t.Errorf("meter %+v", m)
		}
	})
	p.client.Close()
	p.upstream.Close()
	<-p.ended
}

type meter struct{ in, out int }

func (m *meter) AddIn(n int)  { m.in += n }
func (m *meter) AddOut(n int) { m.out += n }

// TestBytesExact sends hashed streams of random segments through many pipes at once, both ways.
func TestBytesExact(t *testing.T) {
	t.Run("many", func(t *testing.T) { exact(t, 100, 1<<20) })
	t.Run("bulk", func(t *testing.T) { exact(t, 4, 48<<20) }) // long enough to be spliced
}

func exact(t *testing.T, pipes, size int) {
	r := proxytest.Start(t, 1)
	buffers := &l4.Buffers{}
	var wait sync.WaitGroup
	for i := range pipes {
		p := &pipe{r: r}
		p.add(t, l4.Config{Buffers: buffers})
		sums := [4][]byte{}
		var each sync.WaitGroup
		for side, conn := range []*net.TCPConn{p.client.Conn(), p.upstream.Conn()} {
			each.Go(func() { sums[side] = sendRandom(t, conn, size, uint64(i*2+side)) })
			each.Go(func() { sums[2+side] = receive(t, conn, size) })
		}
		wait.Go(func() {
			each.Wait()
			<-p.ended
			if string(sums[0]) != string(sums[3]) || string(sums[1]) != string(sums[2]) {
				t.Errorf("pipe %d: bytes differ", i)
			}
			if p.result != (l4.Result{In: uint64(size), Out: uint64(size)}) {
				t.Errorf("pipe %d: %+v", i, p.result)
			}
		})
	}
	wait.Wait()
}

func sendRandom(t *testing.T, c *net.TCPConn, size int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	h := sha256.New()
	block := []byte(strings.Repeat("0123456789abcdef", 1<<14))
	for size > 0 {
		n := min(size, 1+int(r.Uint64N(1<<r.UintN(18))))
		block[r.IntN(len(block))]++
		h.Write(block[:n])
		if _, err := c.Write(block[:n]); err != nil {
			t.Error(err)
			break
		}
		size -= n
	}
	_ = c.CloseWrite()
	return h.Sum(nil)
}

func receive(t *testing.T, c *net.TCPConn, size int) []byte {
	var h hash.Hash = sha256.New()
	if n, err := io.Copy(h, c); n != int64(size) || err != nil {
		t.Errorf("received %d bytes, %v", n, err)
	}
	return h.Sum(nil)
}

// TestRoundTripDoesNotAllocate: a message each way.
func TestRoundTripDoesNotAllocate(t *testing.T) {
	p := start(t, l4.Config{Idle: time.Minute})
	buf := make([]byte, 100)
	pass := func(from, to *net.TCPConn) {
		if _, err := from.Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(to, buf); err != nil {
			t.Fatal(err)
		}
	}
	trip := func() {
		pass(p.client.Conn(), p.upstream.Conn())
		pass(p.upstream.Conn(), p.client.Conn())
	}
	trip()
	if n := testing.AllocsPerRun(1000, trip); n != 0 {
		t.Errorf("%v allocations per round trip", n)
	}
	p.client.Close()
	p.upstream.Close()
	<-p.ended
}
