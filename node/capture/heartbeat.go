package capture

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/bpf"
)

// heart is this process's entry in the heartbeats map, mapped into memory.
type heart struct {
	generation uint32
	loops      int
	memory     []byte // the whole map
	entry      *bpf.Heartbeat
	start      time.Time
	startNanos uint64 // CLOCK_MONOTONIC at start
}

// claimHeartbeat takes the entry of a new generation and empties it, so that
// nothing that an earlier process stamped counts for this one. An entry that
// is still being stamped is skipped: its process would stamp for us.
func claimHeartbeat(m *ebpf.Map, loops int) (*heart, error) {
	entries := m.MaxEntries()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return nil, fmt.Errorf("read clock: %w", err)
	}
	all := make([]bpf.Heartbeat, entries)
	newest := uint32(0)
	for i := range all {
		if err := m.Lookup(uint32(i), &all[i]); err != nil {
			return nil, fmt.Errorf("read heartbeat: %w", err)
		}
		newest = max(newest, all[i].Generation)
	}
	h := &heart{loops: loops, start: time.Now(), startNanos: uint64(now.Nano())}
	for g := newest + 1; g <= newest+entries; g++ {
		if g != 0 && !stamped(&all[g%entries], uint64(now.Nano())) {
			h.generation = g
			break
		}
	}
	if h.generation == 0 {
		return nil, fmt.Errorf("claim heartbeat: all %d entries are in use by live processes", entries)
	}
	slot := h.generation % entries
	if err := m.Put(slot, &bpf.Heartbeat{Generation: h.generation, Loops: uint32(loops)}); err != nil {
		return nil, fmt.Errorf("claim heartbeat: %w", err)
	}
	size := int(unsafe.Sizeof(bpf.Heartbeat{}))
	memory, err := unix.Mmap(m.FD(), 0, int(entries)*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map heartbeats: %w", err)
	}
	h.memory = memory
	h.entry = (*bpf.Heartbeat)(unsafe.Pointer(&memory[int(slot)*size]))
	return h, nil
}

// stamped: some loop has beaten within the last second.
func stamped(h *bpf.Heartbeat, now uint64) bool {
	for _, s := range h.Stamp {
		if s != 0 && int64(now-s) < int64(time.Second) {
			return true
		}
	}
	return false
}

// stamp stores the time. It is derived from Go's monotonic clock, which reads
// CLOCK_MONOTONIC without a system call.
func (h *heart) stamp(loop int) {
	if loop < 0 || loop >= h.loops {
		return
	}
	atomic.StoreUint64(&h.entry.Stamp[loop], h.startNanos+uint64(time.Since(h.start)))
}

func (h *heart) close() error { return unix.Munmap(h.memory) }
