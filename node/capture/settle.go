package capture

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/culvert-mesh/culvert/bpf"
)

// Settle takes out the workloads that earlier processes admitted and this one
// has not, and their routes: they left the mesh while nobody ran. Until it is called they stay,
// under their origins' stances, because not being enrolled yet is not the same
// as having left. Call it once every workload of the node is admitted.
func (c *Capture) Settle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var old []uint64
	var cookie uint64
	var value bpf.Workload
	it := c.objects.Workloads.Iterate()
	for it.Next(&cookie, &value) {
		if value.Generation < c.beat.generation {
			old = append(old, cookie)
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read workloads: %w", err)
	}
	if len(old) == 0 {
		return nil
	}
	living, err := livingNetns()
	if err != nil {
		return err
	}
	var errs []error
	for _, cookie := range old {
		if err := c.objects.Workloads.Delete(cookie); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("take out a workload of an earlier process: %w", err)
		}
		if path := living[cookie]; path != "" {
			errs = append(errs, unroutePath(path, c.routed(cookie)))
		}
	}
	return errors.Join(errs...)
}
