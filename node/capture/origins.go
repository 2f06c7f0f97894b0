package capture

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/culvert-mesh/culvert/bpf"
)

// Mode is where the connections of an origin go.
type Mode uint8

// ModeProxy: to the proxy. ModeKernel: to an endpoint that the hook chooses.
const (
	ModeProxy Mode = iota
	ModeKernel
)

// Stance is what happens to the connections of an origin while the proxy is away.
type Stance uint8

// StanceOpen: they go straight to the origin. StanceClosed: they are refused.
const (
	StanceOpen Stance = iota
	StanceClosed
)

// Origin is one address to capture.
type Origin struct {
	Addr      netip.AddrPort
	Mode      Mode
	Stance    Stance
	Endpoints []Endpoint // ModeKernel only; of the same family as Addr; none usable: connections are refused
}

// idKeep is how long an origin keeps its id after its release, in case a
// connection that was made to it still waits to be accepted.
const idKeep = 600 // seconds

const maxID = 1<<22 - 1

// slotKeep is how long replaced slots stay for hooks that are reading them:
// they do within microseconds.
const slotKeep = time.Second

// originList mirrors the origins map.
type originList struct {
	entries map[netip.AddrPort]*originEntry
	ids     map[uint32]netip.AddrPort // never changed in place: readers have it
	lastID  uint32
	lastGen uint32
	garbage []garbageSlots
}

type originEntry struct {
	value     bpf.Origin
	endpoints []Endpoint // behind value's slots; nil after a restart: unknown
}

type garbageSlots struct {
	origin, generation, slots uint32
	since                     time.Time
}

// restoreOrigins reads what an earlier process left: its origins go on, with
// their ids. Slots that no origin refers to are removed.
func (c *Capture) restoreOrigins() error {
	l := originList{entries: map[netip.AddrPort]*originEntry{}, ids: map[uint32]netip.AddrPort{}}
	var addr bpf.Address
	var value bpf.Origin
	live := map[[2]uint32]bool{}
	it := c.objects.Origins.Iterate()
	for it.Next(&addr, &value) {
		l.entries[addr.AddrPort()] = &originEntry{value: value}
		l.ids[value.Id] = addr.AddrPort()
		l.lastID = max(l.lastID, value.Id)
		l.lastGen = max(l.lastGen, value.Generation)
		live[[2]uint32{value.Id, value.Generation}] = true
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read origins: %w", err)
	}
	var key bpf.SlotKey
	var slot bpf.Slot
	var stale []bpf.SlotKey
	it = c.objects.Endpoints.Iterate()
	for it.Next(&key, &slot) {
		l.lastGen = max(l.lastGen, key.Generation)
		if !live[[2]uint32{key.Origin, key.Generation}] {
			stale = append(stale, key)
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read endpoints: %w", err)
	}
	for _, key := range stale {
		if err := c.objects.Endpoints.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("remove stale endpoints: %w", err)
		}
	}
	c.origins = l
	c.addrByID.Store(&l.ids)
	return nil
}

// Origin is what the client dialled, by the local address of the connection
// that the proxy accepted. False: no origin's address. It knows the origins of
// earlier processes. Lock-free, from any goroutine.
func (c *Capture) Origin(local netip.AddrPort) (netip.AddrPort, bool) {
	id, ok := idOf(local.Addr().Unmap())
	if !ok {
		return netip.AddrPort{}, false
	}
	addr, ok := (*c.addrByID.Load())[id]
	return addr, ok
}

// Release is the first step of applying: what is gone from next, or changes
// its mode, goes untouched to its origin from here on. Beat first: a process that
// does not beat does not lead, and the one before it may still write. In one that
// is not the latest, Release and Redirect do nothing.
func (c *Capture) Release(next []Origin) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	leads, unlock, err := c.lead()
	defer unlock()
	if err != nil || !leads {
		return err
	}
	if !c.current { // the process before may have written since Open
		if err := c.restoreOrigins(); err != nil {
			return err
		}
		c.current = true
	}
	keep := make(map[netip.AddrPort]bpf.Mode, len(next))
	for _, o := range next {
		keep[o.Addr] = o.Mode.kernel()
	}
	now := monotonicSeconds()
	for addr, e := range c.origins.entries {
		if e.value.Mode == bpf.Released || e.value.Mode == keep[addr] {
			continue
		}
		released := bpf.Origin{Id: e.value.Id, Mode: bpf.Released, ReleasedAt: now}
		if err := c.objects.Origins.Put(bpf.MakeAddress(addr), &released); err != nil {
			return fmt.Errorf("release origin %s: %w", addr, err)
		}
		c.discardSlots(e)
		*e = originEntry{value: released}
	}
	return c.expire(now)
}

// Redirect is the last step of applying: exactly next is captured afterwards,
// if Release was called with the same next. Nothing changes when next itself
// is wrong; an error of the kernel leaves a part applied, and a second call
// does the rest.
func (c *Capture) Redirect(next []Origin) error {
	if err := validate(next); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	leads, unlock, err := c.lead()
	defer unlock()
	if err != nil || !leads {
		return err
	}
	if err := c.name(next); err != nil {
		return err
	}
	for i := range next {
		if err := c.redirect(&next[i]); err != nil {
			return fmt.Errorf("redirect origin %s: %w", next[i].Addr, err)
		}
	}
	return c.sweep()
}

func validate(next []Origin) error {
	seen := make(map[netip.AddrPort]bool, len(next))
	for _, o := range next {
		if !o.Addr.IsValid() || o.Addr.Addr().Is4In6() || o.Addr.Addr().Zone() != "" || o.Addr.Port() == 0 {
			return fmt.Errorf("origin %s: not an address and port", o.Addr)
		}
		if seen[o.Addr] {
			return fmt.Errorf("origin %s: twice", o.Addr)
		}
		seen[o.Addr] = true
		for _, e := range o.Endpoints {
			if e.Addr.Addr().Is4() != o.Addr.Addr().Is4() || !e.Addr.IsValid() || e.Addr.Port() == 0 {
				return fmt.Errorf("origin %s: endpoint %s is not of its family", o.Addr, e.Addr)
			}
		}
	}
	return nil
}

// name gives new origins their ids, and publishes them before any connection
// can carry one.
func (c *Capture) name(next []Origin) error {
	ids := maps.Clone(c.origins.ids)
	changed := false
	for _, o := range next {
		if c.origins.entries[o.Addr] != nil {
			continue
		}
		if len(ids) >= maxID {
			return errors.New("name origin: all ids are in use")
		}
		id := c.origins.lastID
		for {
			// Onwards, never the lowest free one: an id rests as long as it can.
			if id++; id > maxID {
				id = 1
			}
			if _, used := ids[id]; !used {
				break
			}
		}
		c.origins.lastID = id
		ids[id] = o.Addr
		c.origins.entries[o.Addr] = &originEntry{value: bpf.Origin{Id: id, Mode: bpf.Released, ReleasedAt: monotonicSeconds()}}
		changed = true
	}
	if changed {
		c.origins.ids = ids
		c.addrByID.Store(&ids)
	}
	return nil
}

func (c *Capture) redirect(o *Origin) error {
	e := c.origins.entries[o.Addr]
	want := bpf.Origin{Id: e.value.Id, Mode: o.Mode.kernel(), Stance: o.Stance.kernel()}
	var slots []bpf.Slot
	if o.Mode == ModeKernel {
		if e.value.Mode == bpf.Kernel && e.endpoints != nil && slices.Equal(e.endpoints, o.Endpoints) {
			want.Generation, want.Slots = e.value.Generation, e.value.Slots
		} else {
			slots = aliasSlots(o.Endpoints)
			c.origins.lastGen++
			want.Generation, want.Slots = c.origins.lastGen, uint32(len(slots))
		}
	}
	if want == e.value {
		return nil
	}
	if err := c.write(o, &want, slots); err != nil {
		// Nobody refers to them, and a caller that tries again makes new ones.
		c.discardSlots(&originEntry{value: bpf.Origin{Id: want.Id, Generation: want.Generation, Slots: uint32(len(slots))}})
		return err
	}
	if want.Generation != e.value.Generation {
		c.discardSlots(e)
	}
	*e = originEntry{value: want, endpoints: append([]Endpoint{}, o.Endpoints...)}
	return nil
}

// write puts what an origin refers to before the origin.
func (c *Capture) write(o *Origin, want *bpf.Origin, slots []bpf.Slot) error {
	for i := range slots {
		key := bpf.SlotKey{Origin: want.Id, Generation: want.Generation, Index: uint32(i)}
		if err := c.objects.Endpoints.Put(key, &slots[i]); err != nil {
			return fmt.Errorf("write endpoint: %w", err)
		}
	}
	if o.Mode == ModeKernel {
		err := c.objects.Balanced.Update(want.Id, make([]uint64, ebpf.MustPossibleCPU()), ebpf.UpdateNoExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("make counter: %w", err)
		}
	}
	return c.objects.Origins.Put(bpf.MakeAddress(o.Addr), want)
}

// discardSlots remembers e's slots for sweep.
func (c *Capture) discardSlots(e *originEntry) {
	if e.value.Slots > 0 {
		c.origins.garbage = append(c.origins.garbage, garbageSlots{e.value.Id, e.value.Generation, e.value.Slots, time.Now()})
	}
}

// sweep deletes slots that no hook can be reading any more. Those that are too
// young wait for the next call, or for the next Open.
func (c *Capture) sweep() error {
	rest := c.origins.garbage[:0]
	for _, g := range c.origins.garbage {
		if time.Since(g.since) < slotKeep {
			rest = append(rest, g)
			continue
		}
		for i := range g.slots {
			key := bpf.SlotKey{Origin: g.origin, Generation: g.generation, Index: i}
			if err := c.objects.Endpoints.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("remove endpoints: %w", err)
			}
		}
	}
	c.origins.garbage = rest
	return nil
}

// expire forgets origins that were released long ago: their ids are free.
func (c *Capture) expire(now uint32) error {
	var ids map[uint32]netip.AddrPort
	for addr, e := range c.origins.entries {
		if e.value.Mode != bpf.Released || now-e.value.ReleasedAt < idKeep {
			continue
		}
		if err := c.objects.Origins.Delete(bpf.MakeAddress(addr)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget origin %s: %w", addr, err)
		}
		if err := c.objects.Balanced.Delete(e.value.Id); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget counter of %s: %w", addr, err)
		}
		if ids == nil {
			ids = maps.Clone(c.origins.ids)
		}
		delete(ids, e.value.Id)
		delete(c.origins.entries, addr)
	}
	if ids != nil {
		c.origins.ids = ids
		c.addrByID.Store(&ids)
	}
	return c.sweep()
}

func (m Mode) kernel() bpf.Mode {
	if m == ModeKernel {
		return bpf.Kernel
	}
	return bpf.Proxy
}

func (s Stance) kernel() bpf.Stance {
	if s == StanceClosed {
		return bpf.Closed
	}
	return bpf.Open
}
