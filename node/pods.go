package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/culvert-mesh/culvert/node/capture"
	"github.com/culvert-mesh/culvert/node/workload"
	"github.com/culvert-mesh/culvert/node/xds"
	"github.com/culvert-mesh/culvert/proxy"
)

// enroller is what pods need of the kernel side.
type enroller interface {
	Enrol(capture.Workload) (capture.Pod, error)
	Admit(id uint32) error
	Expel(id uint32) error
	Leave(id uint32) error
	Settle() error
}

// accepter is what pods need of the proxy.
type accepter interface {
	Serve(w proxy.Workload, listenerFDs ...int) error
	Forget(id uint32, drain time.Duration)
}

// retryEvery is how long a pod that could not be enrolled waits: its namespace
// may be made a moment after its object.
const retryEvery = 500 * time.Millisecond

// lookEvery is how often namespaces are looked at: a pod that restarts may have
// another behind the same name, and no object says so.
const lookEvery = time.Second

// pods enrols workloads and lets them go. One goroutine, run, does all of it.
type pods struct {
	// set at construction
	kernel enroller
	server accepter
	log    *slog.Logger
	drain  time.Duration
	wanted chan wanted
	// inspect looks into a namespace.
	inspect func(path string) (workload.Netns, error)
	// inode says which namespace a file names.
	inode func(path string) (uint64, error)

	// owned by run
	want    []xds.Workload
	here    map[string]*enrolled // by UID
	leaving []leaving            // in the order of their times
	lastID  uint32
	settled bool // what an earlier process admitted and nobody wants is out

	// guarded by mu
	mu     sync.Mutex
	states []PodState
}

// wanted is a new list of workloads; done closes when it was worked on.
type wanted struct {
	list []xds.Workload
	done chan struct{}
}

// enrolled is a workload that is captured.
type enrolled struct {
	id       uint32
	workload xds.Workload
	cookie   uint64
	inode    uint64 // of the namespace's file; 0: it could not be read
}

// leaving is a workload that is not captured any more, whose connections may
// still need sockets in its namespace until the time is over.
type leaving struct {
	id     uint32
	netns  string
	cookie uint64
	at     time.Time
}

// PodState is one workload on /debug/workloads.
type PodState struct {
	UID       string       `json:"uid"`
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	Netns     string       `json:"netns"`
	Addresses []netip.Addr `json:"addresses"`
	// ID is this process's number for it; 0 while it is not enrolled.
	ID     uint32 `json:"id"`
	Cookie uint64 `json:"netns_cookie"`
	// Error is why it is not enrolled; it is tried again.
	Error string `json:"error,omitempty"`
}

func newPods(kernel enroller, server accepter, cfg Config) *pods {
	return &pods{kernel: kernel, server: server, log: cfg.Log, drain: cfg.DrainTimeout,
		wanted: make(chan wanted), inspect: workload.Inspect, inode: workload.Inode, here: map[string]*enrolled{}}
}

// update makes list the workloads of this node, and returns when each was
// enrolled, let go, or put down to be tried again.
func (p *pods) update(ctx context.Context, list []xds.Workload) error {
	w := wanted{list: list, done: make(chan struct{})}
	select {
	case p.wanted <- w:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run works until ctx ends. Everything stays enrolled then: the kernel side's
// stance is for the time when nobody runs.
func (p *pods) run(ctx context.Context) error {
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		var done chan struct{}
		select {
		case w := <-p.wanted:
			p.want, done = w.list, w.done
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
		again.Reset(p.reconcile())
		if done != nil {
			close(done)
		}
	}
}

// reconcile lets go what is not wanted, enrols what is, and says how long until
// there is something to do again.
func (p *pods) reconcile() time.Duration {
	wanted := map[string]xds.Workload{}
	for _, w := range p.want {
		wanted[w.UID] = w
	}
	for uid, e := range p.here {
		// One that only changed is replaced by enrol, without a gap.
		if w, ok := wanted[uid]; !ok || w.Netns != e.workload.Netns || p.madeAnew(e) {
			p.expel(e)
		}
	}
	p.leave(time.Now())
	states := make([]PodState, 0, len(p.want))
	failed := false
	for _, w := range p.want {
		err := p.enrol(w)
		failed = failed || err != nil
		states = append(states, p.state(w, err))
	}
	p.mu.Lock()
	p.states = states
	p.mu.Unlock()
	if !failed && !p.settled {
		p.settle()
	}
	next := time.Hour
	if len(p.here) > 0 {
		next = lookEvery
	}
	if len(p.leaving) > 0 {
		next = min(next, max(0, time.Until(p.leaving[0].at)))
	}
	if failed {
		next = min(next, retryEvery)
	}
	return next
}

// madeAnew: another namespace is behind the workload's file. While there is none
// the old one stays: it may have processes yet.
func (p *pods) madeAnew(e *enrolled) bool {
	now, err := p.inode(e.workload.Netns)
	return err == nil && e.inode != 0 && now != e.inode
}

// settle ends what an earlier process has left captured. It waits for the first
// time that every workload is enrolled: one that could not be is not one that
// left.
func (p *pods) settle() {
	if err := p.kernel.Settle(); err != nil {
		p.log.Warn("workloads of an earlier process may still be captured", "error", err)
		return
	}
	p.settled = true
}

// same says whether nothing changed that enrolment depends on.
func same(a, b xds.Workload) bool {
	return a.Netns == b.Netns && a.Namespace == b.Namespace && a.Name == b.Name && slices.Equal(a.Addresses, b.Addresses)
}

// enrol captures a workload that is not captured yet, or not as it is now:
// listeners, then the proxy, then the hook. What was captured before stays so
// until the hook has the new one: a pod whose addresses change goes on calling.
func (p *pods) enrol(w xds.Workload) error {
	before := p.here[w.UID]
	if before != nil && same(w, before.workload) {
		return nil
	}
	if w.Netns == "" {
		return errors.New("the pod names no network namespace (annotation culvert.dev/netns)")
	}
	addresses, err := p.addresses(w)
	if err != nil {
		return err
	}
	// Before it is opened: one that is replaced in between is seen by the next look.
	inode, err := p.inode(w.Netns)
	if err != nil {
		inode = 0 // opening it tells why
	}
	id := p.lastID + 1
	kernel := capture.Workload{ID: id, NetnsPath: w.Netns, Addresses: addresses}
	if before != nil {
		kernel.Replaces = before.id
	}
	pod, err := p.kernel.Enrol(kernel)
	if err != nil {
		return err
	}
	p.lastID = id
	source := proxy.Workload{ID: id, Namespace: w.Namespace, Name: w.Name, UID: w.UID}
	if err = p.server.Serve(source, pod.Listeners...); err == nil {
		err = p.kernel.Admit(id)
	}
	if err != nil {
		p.server.Forget(id, 0)
		return errors.Join(err, p.kernel.Leave(id))
	}
	if before != nil {
		p.expel(before)
	}
	p.vacate(w.Netns, pod.Cookie)
	p.here[w.UID] = &enrolled{id: id, workload: w, cookie: pod.Cookie, inode: inode}
	p.log.Info("workload enrolled", "workload", w.Namespace+"/"+w.Name, "uid", w.UID, "netns", w.Netns, "id", id)
	return nil
}

// addresses are the pod's as its object says, or, where that says nothing (a
// hand-written one has no status), as its namespace does.
func (p *pods) addresses(w xds.Workload) ([]netip.Addr, error) {
	if len(w.Addresses) > 0 {
		return w.Addresses, nil
	}
	found, err := p.inspect(w.Netns)
	return found.Addresses, err
}

// expel stops capturing; what is open may end by itself for as long as a drain.
func (p *pods) expel(e *enrolled) {
	delete(p.here, e.workload.UID)
	if err := p.kernel.Expel(e.id); err != nil {
		p.log.Warn("workload is still captured", "workload", e.workload.Namespace+"/"+e.workload.Name, "error", err)
	}
	p.server.Forget(e.id, p.drain)
	p.leaving = append(p.leaving, leaving{id: e.id, netns: e.workload.Netns, cookie: e.cookie, at: time.Now().Add(p.drain)})
	p.log.Info("workload left", "workload", e.workload.Namespace+"/"+e.workload.Name, "uid", e.workload.UID, "id", e.id)
}

// leave finishes those whose time is over.
func (p *pods) leave(now time.Time) {
	for len(p.leaving) > 0 && !p.leaving[0].at.After(now) {
		p.finish(p.leaving[0])
		p.leaving = p.leaving[1:]
	}
}

// vacate finishes those whose namespace has another behind its name now: the pod
// is dead, and what it left would keep the old namespace alive. One that has only
// opted out and in again keeps its time: its connections still need sockets.
func (p *pods) vacate(netns string, cookie uint64) {
	p.leaving = slices.DeleteFunc(p.leaving, func(l leaving) bool {
		dead := l.netns == netns && l.cookie != cookie
		if dead {
			p.finish(l)
		}
		return dead
	})
}

func (p *pods) finish(l leaving) {
	if err := p.kernel.Leave(l.id); err != nil {
		p.log.Warn("workload left a trace in its namespace", "netns", l.netns, "id", l.id, "error", err)
	}
}

// state is what /debug shows of w; a new error is logged once.
func (p *pods) state(w xds.Workload, err error) PodState {
	s := PodState{UID: w.UID, Namespace: w.Namespace, Name: w.Name, Netns: w.Netns, Addresses: append([]netip.Addr{}, w.Addresses...)}
	if e := p.here[w.UID]; e != nil {
		s.ID, s.Cookie = e.id, e.cookie
	}
	if err == nil {
		return s
	}
	s.Error = err.Error()
	for _, before := range p.States() {
		if before.UID == s.UID && before.Error == s.Error {
			return s
		}
	}
	p.log.Warn("workload is not enrolled", "workload", w.Namespace+"/"+w.Name, "uid", w.UID, "error", err)
	return s
}

// States lists the workloads, sorted by namespace and name. Any goroutine.
func (p *pods) States() []PodState {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Clone(p.states)
	slices.SortFunc(out, func(x, y PodState) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name), cmp.Compare(x.UID, y.UID))
	})
	return out
}

// problems are the workloads that are not enrolled, one line each.
func (p *pods) problems() []string {
	var out []string
	for _, s := range p.States() {
		if s.Error != "" {
			out = append(out, fmt.Sprintf("Pod %s/%s: not enrolled: %s", s.Namespace, s.Name, s.Error))
		}
	}
	return out
}
