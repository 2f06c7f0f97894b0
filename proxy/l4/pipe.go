package l4

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// When a direction is bulk: after so many bytes without a read of less than bulkRead. Measured with
// eight streams: a pipe in the kernel takes 0.63 of the CPU time per byte that copying through 256 KiB takes,
// with one stream 0.77; at messages of 64 KiB there is no gain.
const (
	bulkBytes = 1 << 20
	bulkRead  = 96 << 10
)

// Meter is told of bytes as they are written on. *telemetry.Flow is one.
type Meter interface {
	AddIn(n int)  // from the client, written to the upstream
	AddOut(n int) // from the upstream, written to the client
}

// Config describes a pipe. Client, Upstream and Buffers are required.
type Config struct {
	// Client and Upstream are conns of one loop, open, not parked and read by nobody. The pipe owns them.
	Client, Upstream *reactor.Conn
	// FromClient and FromUpstream are bytes that were read already (peeked at, or behind a head
	// that asked for an upgrade): they go first. They are not written to, and not used after the end.
	FromClient, FromUpstream []byte
	// Idle ends the pipe when no byte moved in either direction for so long; 0: never.
	Idle time.Duration
	// Buffers are those of the conns' loop.
	Buffers *Buffers
	// Meter is told as bytes move. May be nil.
	Meter Meter
}

// Result is how a pipe ended. Both conns are closed by then.
type Result struct {
	In, Out uint64 // bytes written to the upstream and to the client
	// Reason is None when both sides ended in order; ClientGone or UpstreamReset by whose
	// connection broke; IdleTimeout; Draining when the loop ended.
	Reason telemetry.Reason
	Err    error // what broke, nil in order and at timeouts
}

// Tunnel is a pipe that runs.
type Tunnel struct {
	// set at construction
	loop    *reactor.Loop
	buffers *Buffers
	meter   Meter
	idle    int64
	ended   func(Result)

	// owned by the loop
	in, out  direction
	timer    reactor.Timer
	moved    int64 // when bytes moved last
	over     bool
	reported bool
	result   Result
}

// direction moves bytes from one conn to the other.
type direction struct {
	tunnel   *Tunnel
	from, to *reactor.Conn
	first    []byte           // to be written before anything is read
	broken   telemetry.Reason // of from
	class    int              // of the buffer to ask for
	streak   int              // bytes moved without a small read in between
	running  bool             // has a coroutine
	done     bool             // has passed on the end
}

// Start lets a pipe run by itself and calls ended once, on the loop, after both conns were closed.
// On the loop or in a coroutine.
func Start(c Config, ended func(Result)) *Tunnel {
	p := &Tunnel{loop: c.Client.Loop(), buffers: c.Buffers, meter: c.Meter, idle: int64(c.Idle), ended: ended}
	p.in = direction{tunnel: p, from: c.Client, to: c.Upstream, first: c.FromClient, broken: telemetry.ClientGone}
	p.out = direction{tunnel: p, from: c.Upstream, to: c.Client, first: c.FromUpstream, broken: telemetry.UpstreamReset}
	for _, conn := range []*reactor.Conn{c.Client, c.Upstream} {
		conn.ReadBy(0)
		conn.WriteBy(0)
		conn.OnReset(nil)
	}
	p.moved = p.loop.Now()
	if p.idle > 0 {
		p.timer.F = p.watch
		p.loop.After(&p.timer, c.Idle)
	}
	p.in.begin()
	p.out.begin()
	return p
}

// Close ends the pipe now, with resets on both sides; the result's reason is r. On the loop.
func (p *Tunnel) Close(r telemetry.Reason) { p.fail(r, nil) }

// begin starts with the bytes that are there, or waits for some.
func (d *direction) begin() {
	if len(d.first) == 0 {
		d.from.Park(d)
		return
	}
	d.Ready(d.from)
}

// Ready is called when from has bytes, an end or an error.
func (d *direction) Ready(*reactor.Conn) {
	if d.tunnel.over {
		d.tunnel.settle()
		return
	}
	d.running = true
	d.tunnel.loop.Go(d)
}

// Run moves bytes until there are none, and parks; or until the end, and passes that on.
func (d *direction) Run() {
	defer func() {
		if d.running { // a panic passes through
			d.running = false
			d.tunnel.fail(telemetry.Panic, nil)
		}
	}()
	err := d.write(d.first)
	d.first = nil
	if err == nil {
		err = d.move()
	}
	d.running = false
	switch p := d.tunnel; {
	case p.over:
		p.settle()
	case err == syscall.EAGAIN:
		d.from.Park(d)
	case err == io.EOF:
		d.finish()
	}
}

// move moves bytes until there is nothing to read: then it returns EAGAIN, at the end EOF. Any
// other error has ended the pipe.
func (d *direction) move() error {
	for {
		if !d.bulk() {
			if err := d.copy(); err != nil {
				return err
			}
		}
		pipe := d.tunnel.loop.TakeSplice()
		if pipe == nil {
			d.streak = -bulkBytes // no descriptors: copy for a while
			continue
		}
		return d.splice(pipe)
	}
}

// bulk tells whether so much came in large reads that a pipe in the kernel pays.
func (d *direction) bulk() bool { return d.streak >= bulkBytes }

// copy moves bytes through a buffer; nil: it has become bulk.
func (d *direction) copy() error {
	class := d.class
	buf := d.tunnel.buffers.take(class)
	defer func() { d.tunnel.buffers.put(buf) }()
	for !d.bulk() {
		n, err := d.from.TryRead(buf)
		if err != nil {
			return d.readFailed(err)
		}
		if err := d.write(buf[:n]); err != nil {
			return err
		}
		if d.resize(n, len(buf)); d.class != class {
			d.tunnel.buffers.put(buf)
			class = d.class
			buf = d.tunnel.buffers.take(class)
		}
		if d.streak += n; n < bulkRead {
			d.streak = 0
		}
	}
	return nil
}

// splice moves bytes inside the kernel.
func (d *direction) splice(pipe *reactor.Splice) error {
	defer pipe.Release()
	moved := 0
	for {
		if _, err := pipe.Fill(d.from); err != nil {
			if moved < bulkRead {
				d.streak = 0 // small messages are better copied
			}
			return d.readFailed(err)
		}
		n, err := pipe.Drain(d.to)
		d.count(n)
		moved += n
		if err != nil {
			d.tunnel.fail(d.other().broken, err)
			return err
		}
	}
}

// readFailed ends the pipe unless there merely is nothing (more) to read.
func (d *direction) readFailed(err error) error {
	if err != io.EOF && err != syscall.EAGAIN {
		d.tunnel.fail(d.broken, err)
	}
	return err
}

// resize picks the next buffer: larger after a full read, smaller when the next smaller one would
// have done by far.
func (d *direction) resize(n, size int) {
	if n == size && d.class < sizes-1 {
		d.class++
	} else if n < size>>(2*sizeShift) && d.class > 0 {
		d.class--
	}
}

func (d *direction) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := d.to.Write(b)
	d.count(n)
	if err != nil {
		d.tunnel.fail(d.other().broken, err)
	}
	return err
}

func (d *direction) count(n int) {
	p := d.tunnel
	p.moved = p.loop.Now()
	if d == &p.in {
		p.result.In += uint64(n)
		if p.meter != nil {
			p.meter.AddIn(n)
		}
		return
	}
	p.result.Out += uint64(n)
	if p.meter != nil {
		p.meter.AddOut(n)
	}
}

func (d *direction) other() *direction {
	if d == &d.tunnel.in {
		return &d.tunnel.out
	}
	return &d.tunnel.in
}

// finish passes an end on. Nobody reads from any more, so a reset of it has to be asked for.
func (d *direction) finish() {
	d.done = true
	d.tunnel.moved = d.tunnel.loop.Now()
	if d.other().done {
		d.tunnel.over = true
		_ = d.to.CloseWrite()
		_, _ = d.from.Close(), d.to.Close()
		d.tunnel.settle()
		return
	}
	d.from.OnReset(func() { d.tunnel.fail(d.broken, syscall.ECONNRESET) })
	if err := d.to.CloseWrite(); err != nil {
		d.tunnel.fail(d.other().broken, err)
	}
}

// fail ends the pipe out of order: what broke on one side is a reset on the other.
func (p *Tunnel) fail(r telemetry.Reason, err error) {
	if p.over {
		return
	}
	if errors.Is(err, net.ErrClosed) {
		r = telemetry.Draining // nobody but the loop closes these conns
	}
	p.over = true
	p.result.Reason, p.result.Err = r, err
	p.in.from.Abort()
	p.out.from.Abort()
	p.settle()
}

// watch is the idle timer: it looks how long ago bytes moved, and comes back for the rest.
func (p *Tunnel) watch() {
	if left := p.moved + p.idle - p.loop.Now(); left > 0 {
		p.loop.After(&p.timer, time.Duration(left))
		return
	}
	p.fail(telemetry.IdleTimeout, nil)
}

// settle reports once both directions have left their coroutines.
func (p *Tunnel) settle() {
	if p.reported || p.in.running || p.out.running {
		return
	}
	p.reported = true
	p.timer.Stop()
	p.ended(p.result)
}
