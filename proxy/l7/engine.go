package l7

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/culvert-mesh/culvert/proxy/l4"
	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// Tables is one version of everything that a request is decided by. A request
// pins one and sees nothing of a newer one.
type Tables struct {
	Snapshot *table.Snapshot
	View     *upstream.View
}

// Config is what an Engine needs; all fields are required but Limits.
type Config struct {
	Loop     *reactor.Loop
	Tables   *atomic.Pointer[Tables]
	Pools    *upstream.Pools
	Recorder *telemetry.Recorder
	Limits   Limits
}

// Buffers come in three sizes: small for heads, which nearly all fit; medium
// for the first read of a response and of a body; large for bodies that fill a
// medium one and for the largest heads: 64 KiB with a head before them in one
// read.
const (
	smallBuffer  = 4 << 10
	mediumBuffer = 16 << 10
	largeBuffer  = 68 << 10
)

// What an Engine keeps when it is quiet: 1 MiB a class, and as many exchanges as
// a busy loop has live.
const (
	buffersKept   = 1 << 20
	exchangesKept = 256
)

// crowding is how many times what bodies may make buffers hold, heads may, too.
const crowding = 4

// Engine is what all HTTP connections of one loop share: free exchanges, free
// buffers and the way to the tables. It belongs to its loop.
type Engine struct {
	// set at construction
	loop     *reactor.Loop
	tables   *atomic.Pointer[Tables]
	pools    *upstream.Pools
	recorder *telemetry.Recorder
	limits   Limits
	random   *rand.Rand

	// owned by the loop
	exchanges            []*exchange
	small, medium, large [][]byte
	held                 int // bytes of buffers in use, the small ones left out
	pipes                l4.Buffers
}

// NewEngine returns the engine of one loop.
func NewEngine(c Config) *Engine {
	return &Engine{
		loop: c.Loop, tables: c.Tables, pools: c.Pools, recorder: c.Recorder,
		limits: c.Limits.withDefaults(),
		random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	}
}

// take returns an exchange for s; give takes it back.
func (e *Engine) take(s *Session) *exchange {
	var x *exchange
	if n := len(e.exchanges); n > 0 {
		x = e.exchanges[n-1]
		e.exchanges = e.exchanges[:n-1]
	} else {
		x = newExchange(e)
	}
	x.session, x.client = s, s.conn
	return x
}

func (e *Engine) give(x *exchange) {
	x.session, x.client = nil, nil
	if len(e.exchanges) < exchangesKept {
		e.exchanges = append(e.exchanges, x)
	}
}

// buffer returns an empty buffer with room for at least size bytes, of the
// smallest class that has it. Last in, first out: the one that is in the cache.
func (e *Engine) buffer(size int) []byte {
	class, room := e.class(size)
	if room > smallBuffer {
		e.held += room
	}
	if class == nil || len(*class) == 0 {
		return make([]byte, 0, room)
	}
	last := len(*class) - 1
	b := (*class)[last]
	*class = (*class)[:last]
	return b
}

// bodyBuffer returns a buffer for a piece of a body: one that holds size bytes, or
// a small one while the loop's others hold as much as they may.
func (e *Engine) bodyBuffer(size int) []byte {
	if e.full() {
		size = smallBuffer
	}
	return e.buffer(size)
}

// full says that buffers hold as much as bodies may make them.
func (e *Engine) full() bool { return e.held >= e.limits.BufferBytes }

// free gives a buffer back, which must be as large as it was made; nil is nothing.
func (e *Engine) free(b []byte) {
	if b == nil {
		return
	}
	class, room := e.class(cap(b))
	if room > smallBuffer {
		e.held -= room
	}
	if class != nil && len(*class) < buffersKept/room {
		*class = append(*class, b[:0])
	}
}

// freeHead gives back a small buffer that was appended to. One that has grown is
// left to the garbage collector: it was not counted, whatever its size is now.
func (e *Engine) freeHead(b []byte) {
	if cap(b) == smallBuffer {
		e.free(b)
	}
}

// class returns nil for what is larger than any.
func (e *Engine) class(size int) (class *[][]byte, room int) {
	switch {
	case size <= smallBuffer:
		return &e.small, smallBuffer
	case size <= mediumBuffer:
		return &e.medium, mediumBuffer
	case size <= largeBuffer:
		return &e.large, largeBuffer
	}
	return nil, size
}
