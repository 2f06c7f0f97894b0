package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/bpf"
)

// ErrNotEnrolled: the workload's id is not known here.
var ErrNotEnrolled = errors.New("workload is not enrolled")

// Workload is a pod to enrol.
type Workload struct {
	ID        uint32 // the caller's own number
	NetnsPath string
	// Addresses of the pod. The first global one of each family is what
	// getsockname shows on captured sockets; without one of IPv6, only IPv4 is
	// captured.
	Addresses []netip.Addr
	// Replaces is the workload that has the namespace now, whose place this one
	// takes when it is admitted; 0: nobody has it.
	Replaces uint32
}

// Pod is an enrolled workload.
type Pod struct {
	Cookie    uint64 // of its network namespace
	Listeners []int  // listening, non-blocking: IPv4, and IPv6 where the pod has it. The caller's to close
}

// pod is what stays open for an enrolled workload.
type pod struct {
	workload Workload
	cookie   uint64
	value    bpf.Workload
	global6  []netip.Addr // the pod's IPv6 addresses, which have routes of ours
	expelled bool         // by Expel; guarded by Capture.mu

	mu    sync.RWMutex // netns is closed under it, used with it held for reading
	netns int
}

// Enrol opens the namespace, makes listeners in it, which accept from its own
// loopback only, and routes the origins' IPv6 network. Connections are not
// captured before Admit. On error nothing is left.
func (c *Capture) Enrol(w Workload) (made Pod, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if (*c.pods.Load())[w.ID] != nil {
		return Pod{}, fmt.Errorf("enrol workload %d: already enrolled", w.ID)
	}
	p := &pod{workload: w, value: bpf.Workload{Id: w.ID, Generation: c.beat.generation}}
	if p.netns, err = unix.Open(w.NetnsPath, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return Pod{}, fmt.Errorf("open network namespace %s: %w", w.NetnsPath, err)
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.cookie, err = netnsCookie(p.netns); err != nil {
		return Pod{}, fmt.Errorf("enrol %s: %w", w.NetnsPath, err)
	}
	if err := c.mayEnrol(p); err != nil {
		return Pod{}, fmt.Errorf("enrol %s: %w", w.NetnsPath, err)
	}
	shared, err := c.shared(p.cookie)
	if err != nil {
		return Pod{}, fmt.Errorf("enrol %s: %w", w.NetnsPath, err)
	}
	p.setAddresses()
	door, err := openDoor(p.netns, p.global6, shared)
	if err != nil {
		return Pod{}, fmt.Errorf("enrol %s: %w", w.NetnsPath, err)
	}
	p.value.Port4, p.value.Port6 = bpf.NetworkPort(door.port4), bpf.NetworkPort(door.port6)
	pods := maps.Clone(*c.pods.Load())
	pods[w.ID] = p
	c.pods.Store(&pods)
	return Pod{Cookie: p.cookie, Listeners: door.listeners}, nil
}

// mayEnrol: a namespace belongs to one workload, that is not expelled or replaced, and never
// to the node: it would capture every program there, this one's own connections
// too.
func (c *Capture) mayEnrol(p *pod) error {
	own, err := netnsCookie(c.home)
	if err != nil {
		return err
	}
	if own == p.cookie {
		return errors.New("it is the node's own namespace")
	}
	for _, other := range *c.pods.Load() {
		if other.cookie == p.cookie && !other.expelled && other.workload.ID != p.workload.Replaces {
			return fmt.Errorf("workload %d is the same namespace", other.workload.ID)
		}
	}
	return nil
}

// shared: the namespace is captured, for an earlier process perhaps, or a workload
// of this one still has connections there.
func (c *Capture) shared(cookie uint64) (bool, error) {
	for _, p := range *c.pods.Load() {
		if p.cookie == cookie {
			return true, nil
		}
	}
	var now bpf.Workload
	err := c.objects.Workloads.Lookup(cookie, &now)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the namespace: %w", err)
	}
	return true, nil
}

// routed is the addresses that workloads of this process have routes for.
func (c *Capture) routed(cookie uint64) (addrs []netip.Addr) {
	for _, p := range *c.pods.Load() {
		if p.cookie == cookie {
			addrs = append(addrs, p.global6...)
		}
	}
	return addrs
}

// setAddresses chooses what getsockname shows; IPv6 may come from all of global6.
func (p *pod) setAddresses() {
	for _, a := range p.workload.Addresses {
		a = a.Unmap()
		if a.IsLoopback() || a.IsLinkLocalUnicast() {
			continue
		}
		if a.Is4() {
			if b := a.As4(); p.value.Addr4 == 0 {
				p.value.Addr4 = binary.NativeEndian.Uint32(b[:])
			}
			continue
		}
		if p.global6 = append(p.global6, a); len(p.global6) == 1 {
			p.value.Addr6 = bpf.Words(a)
		}
	}
}

// Admit lets the hook capture the workload's connections. One map update: a
// workload of an earlier process moves to this one's listeners at once. It stays
// with a later process that has begun to lead.
func (c *Capture) Admit(id uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := (*c.pods.Load())[id]
	if p == nil {
		return ErrNotEnrolled
	}
	leads, unlock, err := c.lead()
	defer unlock()
	if err != nil || !leads {
		return err
	}
	if err := c.objects.Workloads.Put(p.cookie, &p.value); err != nil {
		return fmt.Errorf("admit workload %d: %w", id, err)
	}
	// What an earlier process, or an earlier form of the pod, routed to lo would hide
	// a neighbour that has the address now. After the redirect, never before.
	if err := unroute(p.netns, c.routed(p.cookie)); err != nil {
		c.log.Warn("an earlier workload's routes stay", "id", id, "netns", p.workload.NetnsPath, "error", err)
	}
	return nil
}

// Expel stops capturing the workload's new connections; it stays enrolled, so
// that its connections can come to their end, while its namespace may be enrolled
// anew. A workload that a later process has admitted is left to that one.
func (c *Capture) Expel(id uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := (*c.pods.Load())[id]
	if p == nil {
		return ErrNotEnrolled
	}
	_, unlock, err := c.lead()
	defer unlock()
	if err != nil {
		return err
	}
	_, err = c.expel(p)
	p.expelled = p.expelled || err == nil
	return err
}

// expel says whether the namespace is nobody's now.
func (c *Capture) expel(p *pod) (gone bool, err error) {
	var now bpf.Workload
	err = c.objects.Workloads.Lookup(p.cookie, &now)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return true, nil
	}
	later := now.Generation > p.value.Generation
	if err == nil && (later || now.Generation == p.value.Generation && now.Id != p.value.Id) {
		return false, nil // enrolled anew, by a later process or by this one
	}
	if err == nil {
		err = c.objects.Workloads.Delete(p.cookie)
	}
	if err != nil {
		return false, fmt.Errorf("expel workload %d: %w", p.workload.ID, err)
	}
	return true, nil
}

// Leave undoes Enrol: no more captures, no route, no sockets from Socket. The
// listeners are the caller's to close, as are connections, which live on.
func (c *Capture) Leave(id uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := (*c.pods.Load())[id]
	if p == nil {
		return ErrNotEnrolled
	}
	leads, unlock, err := c.lead()
	defer unlock()
	if err != nil {
		return err
	}
	gone, err := c.expel(p)
	if err != nil {
		return err
	}
	pods := maps.Clone(*c.pods.Load())
	delete(pods, id)
	c.pods.Store(&pods)
	for _, other := range pods {
		gone = gone || other.cookie == p.cookie // enrolled anew, by this process: its routes stay
	}
	// Not when a later process leads: it may have enrolled it and not admitted yet.
	if gone && leads && len(p.global6) > 0 {
		err = unroute(p.netns, c.routed(p.cookie))
	}
	return errors.Join(err, p.close())
}

func (p *pod) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.netns < 0 {
		return nil
	}
	err := unix.Close(p.netns)
	p.netns = -1
	return err
}

// pruneWorkloads takes out the workloads of earlier processes whose namespace
// is gone. The others stay, under their origins' stances, until Admit.
func pruneWorkloads(m *ebpf.Map) error {
	var cookies []uint64
	var cookie uint64
	var value bpf.Workload
	it := m.Iterate()
	for it.Next(&cookie, &value) {
		cookies = append(cookies, cookie)
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read workloads: %w", err)
	}
	if len(cookies) == 0 {
		return nil
	}
	living, err := livingNetns()
	if err != nil {
		return err
	}
	for _, cookie := range cookies {
		if living[cookie] != "" {
			continue
		}
		if err := m.Delete(cookie); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("prune workload: %w", err)
		}
	}
	return nil
}
