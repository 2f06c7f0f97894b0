// Package l4 moves bytes between two conns of one loop, both ways, until both sides are done. It
// owns both conns from Start on and the buffers while bytes are in flight. It must not know what
// the bytes mean, where the upstream came from, or who counts. Called by proxy and l7 (upgrades),
// on the loop of the conns.
//
// An idle pipe holds no buffer and no coroutine: both conns are parked. Memory per pipe is one
// buffer per direction that moves at this moment or whose receiver takes nothing; large buffers are
// bounded per loop.
package l4
