package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"unsafe"

	"github.com/culvert-mesh/culvert/bpf"
)

// During a rolling update two processes have the maps open. The later one leads
// from its first heartbeat on; from then on the earlier one writes nothing but
// the taking out of its own workloads. What it then believes about origins is
// out of date and of no consequence: their ids are known to it for as long as
// connections come in through its listeners. An earlier process never leads
// again, even when the later one dies: stances hold until the next one starts.

// lead orders this process's writing with the others' and says whether it is the
// one to write. unlock is never nil.
func (c *Capture) lead() (leads bool, unlock func(), err error) {
	unlock, err = lockDir(c.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist): // uninstalled: nobody else is there
		return true, func() {}, nil
	case err != nil:
		return false, func() {}, fmt.Errorf("order writing with other processes: %w", err)
	}
	return !c.beat.superseded(), unlock, nil
}

// superseded: a process of a later generation has beaten.
func (h *heart) superseded() bool {
	size := unsafe.Sizeof(bpf.Heartbeat{})
	for at := uintptr(0); at+size <= uintptr(len(h.memory)); at += size {
		other := (*bpf.Heartbeat)(unsafe.Pointer(&h.memory[at]))
		if atomic.LoadUint32(&other.Generation) <= h.generation {
			continue
		}
		for loop := range other.Stamp {
			if atomic.LoadUint64(&other.Stamp[loop]) != 0 {
				return true
			}
		}
	}
	return false
}
