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
// nothing that an earlier process stamped counts for this one.
func claimHeartbeat(m *ebpf.Map, loops int) (*heart, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return nil, fmt.Errorf("read clock: %w", err)
	}
	entries := m.MaxEntries()
	h := &heart{loops: loops, start: time.Now(), startNanos: uint64(now.Nano())}
	// Processes that crash one after the other leave entries that look alive for a
	// while yet: wait, or a crash loop would find none and end for that reason.
	for {
		var err error
		if h.generation, err = freeGeneration(m, h.nanos()); err != nil {
			return nil, err
		}
		if h.generation != 0 {
			break
		}
		if time.Since(h.start) > 2*stampedFor {
			return nil, fmt.Errorf("claim heartbeat: all %d entries are in use by live processes", entries)
		}
		time.Sleep(stampedFor / 20)
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

// freeGeneration is the next generation whose entry nobody stamps: the process of
// one that is still stamped would stamp for us. 0: there is none.
func freeGeneration(m *ebpf.Map, now uint64) (uint32, error) {
	all := make([]bpf.Heartbeat, m.MaxEntries())
	newest := uint32(0)
	for i := range all {
		if err := m.Lookup(uint32(i), &all[i]); err != nil {
			return 0, fmt.Errorf("read heartbeat: %w", err)
		}
		newest = max(newest, all[i].Generation)
	}
	for g := newest + 1; g <= newest+m.MaxEntries(); g++ {
		if g != 0 && !stamped(&all[g%m.MaxEntries()], now, stampedFor) {
			return g, nil
		}
	}
	return 0, nil
}

// stampedFor is how long after its last beat a process may be alive yet.
const stampedFor = time.Second

// stamped: some loop has beaten within that time.
func stamped(h *bpf.Heartbeat, now uint64, within time.Duration) bool {
	for _, s := range h.Stamp {
		if s != 0 && int64(now-s) < int64(within) {
			return true
		}
	}
	return false
}

// nanos is CLOCK_MONOTONIC, derived from Go's own reading of it, which takes no
// system call.
func (h *heart) nanos() uint64 { return h.startNanos + uint64(time.Since(h.start)) }

// stamp stores the time.
func (h *heart) stamp(loop int) {
	if loop < 0 || loop >= h.loops {
		return
	}
	atomic.StoreUint64(&h.entry.Stamp[loop], h.nanos())
}

func (h *heart) close() error { return unix.Munmap(h.memory) }
