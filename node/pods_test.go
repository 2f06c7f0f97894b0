package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-mesh/culvert/node/capture"
	"github.com/culvert-mesh/culvert/node/workload"
	"github.com/culvert-mesh/culvert/node/xds"
	"github.com/culvert-mesh/culvert/proxy"
)

// scene is the kernel side and the proxy as pods see them: it writes down what
// is asked of it, in order.
type scene struct {
	mu    sync.Mutex
	calls []string
	fail  map[string]error // by call
	// cookie is of every namespace; 0: each time another.
	cookie uint64
	// inode is of every namespace's file.
	inode uint64
}

func (s *scene) say(format string, args ...any) error {
	call := fmt.Sprintf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
	return s.fail[call]
}

func (s *scene) Enrol(w capture.Workload) (capture.Pod, error) {
	call := fmt.Sprintf("enrol %d %s %v", w.ID, w.NetnsPath, w.Addresses)
	if w.Replaces != 0 {
		call += fmt.Sprintf(" for %d", w.Replaces)
	}
	err := s.say("%s", call)
	return capture.Pod{Cookie: cmp.Or(s.cookie, uint64(w.ID)*100), Listeners: []int{-1}}, err
}
func (s *scene) Admit(id uint32) error { return s.say("admit %d", id) }
func (s *scene) Expel(id uint32) error { return s.say("expel %d", id) }
func (s *scene) Settle() error         { return s.say("settle") }
func (s *scene) Leave(id uint32) error { return s.say("leave %d", id) }
func (s *scene) Serve(w proxy.Workload, fds ...int) error {
	return s.say("serve %d %s/%s %v", w.ID, w.Namespace, w.Name, fds)
}
func (s *scene) Forget(id uint32, drain time.Duration) { s.say("forget %d %v", id, drain) }

// breaks makes a call fail, or, with nil, work again.
func (s *scene) breaks(call string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail[call] = err
}

// take returns the calls since the last time.
func (s *scene) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.calls
	s.calls = nil
	return out
}

// withPods runs a test on pods in virtual time.
func withPods(t *testing.T, test func(t *testing.T, s *scene, p *pods)) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{fail: map[string]error{}}
		p := newPods(s, s, Config{Log: slog.New(slog.DiscardHandler), DrainTimeout: 10 * time.Second})
		p.inspect = func(string) (workload.Netns, error) {
			return workload.Netns{Addresses: []netip.Addr{netip.MustParseAddr("10.9.9.9")}}, nil
		}
		p.inode = func(string) (uint64, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.inode == 0 {
				return 0, fs.ErrNotExist
			}
			return s.inode, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.run(ctx) }()
		defer func() {
			cancel()
			<-done
		}()
		test(t, s, p)
	})
}

func pod(uid, netns string, addresses ...string) xds.Workload {
	w := xds.Workload{UID: uid, Namespace: "shop", Name: uid, Netns: netns}
	for _, a := range addresses {
		w.Addresses = append(w.Addresses, netip.MustParseAddr(a))
	}
	return w
}

func expect(t *testing.T, s *scene, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := s.take(); !slices.Equal(got, want) {
		t.Fatalf("calls\n%q, want\n%q", got, want)
	}
}

func update(t *testing.T, p *pods, list ...xds.Workload) {
	t.Helper()
	if err := p.update(t.Context(), list); err != nil {
		t.Fatal(err)
	}
}

func TestPodComesAndGoes(t *testing.T) {
	withPods(t, func(t *testing.T, s *scene, p *pods) {
		a, b := pod("a", "/ns/a", "10.0.0.1"), pod("b", "/ns/b")
		update(t, p, a, b)
		expect(t, s, "enrol 1 /ns/a [10.0.0.1]", "serve 1 shop/a [-1]", "admit 1",
			"enrol 2 /ns/b [10.9.9.9]", "serve 2 shop/b [-1]", "admit 2", "settle")
		update(t, p, a, b)
		expect(t, s)
		update(t, p, b)
		expect(t, s, "expel 1", "forget 1 10s")
		time.Sleep(9 * time.Second)
		expect(t, s)
		time.Sleep(2 * time.Second)
		expect(t, s, "leave 1")
		if got := p.States(); len(got) != 1 || got[0].ID != 2 || got[0].Cookie != 200 {
			t.Fatalf("states %+v", got)
		}
	})
}

func TestNamespaceGoesToTheNextPod(t *testing.T) {
	withPods(t, func(t *testing.T, s *scene, p *pods) {
		update(t, p, pod("a", "/ns/a", "10.0.0.1"))
		s.take()
		// The same pod name made again: another UID in the same namespace file.
		update(t, p, pod("a2", "/ns/a", "10.0.0.2"))
		expect(t, s, "expel 1", "forget 1 10s", "enrol 2 /ns/a [10.0.0.2]", "serve 2 shop/a2 [-1]", "admit 2", "leave 1")
		time.Sleep(time.Minute)
		expect(t, s)
	})
}

// TestNamespaceIsMadeAnew under its old name, and no object says so.
func TestNamespaceIsMadeAnew(t *testing.T) {
	withPods(t, func(t *testing.T, s *scene, p *pods) {
		becomes := func(inode uint64) {
			s.mu.Lock()
			s.inode = inode
			s.mu.Unlock()
			time.Sleep(2 * lookEvery)
		}
		becomes(11)
		update(t, p, pod("a", "/ns/a", "10.0.0.1"))
		expect(t, s, "enrol 1 /ns/a [10.0.0.1]", "serve 1 shop/a [-1]", "admit 1", "settle")
		becomes(0) // the name is gone: what runs in the namespace may go on
		expect(t, s)
		becomes(11)
		expect(t, s)
		becomes(12)
		expect(t, s, "expel 1", "forget 1 10s", "enrol 2 /ns/a [10.0.0.1]", "serve 2 shop/a [-1]", "admit 2", "leave 1")
		time.Sleep(time.Minute)
		expect(t, s)
	})
}

// TestPodChanges: the hook has the new one before the old one is let go, and a
// change that cannot be made leaves everything as it was.
func TestPodChanges(t *testing.T) {
	withPods(t, func(t *testing.T, s *scene, p *pods) {
		s.cookie = 7
		update(t, p, pod("a", "/ns/a", "10.0.0.1"))
		s.take()
		s.breaks("enrol 2 /ns/a [10.0.0.1 fd00::1] for 1", errors.New("no IPv6"))
		update(t, p, pod("a", "/ns/a", "10.0.0.1", "fd00::1"))
		expect(t, s, "enrol 2 /ns/a [10.0.0.1 fd00::1] for 1")
		if got := p.States(); got[0].ID != 1 || got[0].Error == "" {
			t.Fatalf("states %+v", got)
		}
		s.breaks("enrol 2 /ns/a [10.0.0.1 fd00::1] for 1", nil)
		time.Sleep(600 * time.Millisecond)
		expect(t, s, "enrol 2 /ns/a [10.0.0.1 fd00::1] for 1", "serve 2 shop/a [-1]", "admit 2", "expel 1", "forget 1 10s")
		renamed := pod("a", "/ns/a", "10.0.0.1", "fd00::1")
		renamed.Name = "b"
		update(t, p, renamed)
		expect(t, s, "enrol 3 /ns/a [10.0.0.1 fd00::1] for 2", "serve 3 shop/b [-1]", "admit 3", "expel 2", "forget 2 10s")
		// Another namespace behind the same name: what the old one left goes at once.
		s.cookie = 8
		update(t, p, pod("a", "/ns/a", "10.0.0.2"))
		expect(t, s, "enrol 4 /ns/a [10.0.0.2] for 3", "serve 4 shop/a [-1]", "admit 4", "expel 3", "forget 3 10s", "leave 1", "leave 2", "leave 3")
		time.Sleep(time.Minute)
		expect(t, s)
	})
}

func TestPodOptsOutAndInAgain(t *testing.T) {
	withPods(t, func(t *testing.T, s *scene, p *pods) {
		s.cookie = 7
		update(t, p, pod("a", "/ns/a", "10.0.0.1"))
		update(t, p)
		s.take()
		// Its old connections go on in the same namespace until their time is over.
		update(t, p, pod("a", "/ns/a", "10.0.0.1"))
		expect(t, s, "enrol 2 /ns/a [10.0.0.1]", "serve 2 shop/a [-1]", "admit 2")
		time.Sleep(11 * time.Second)
		expect(t, s, "leave 1")
	})
}

func TestPodIsTriedAgain(t *testing.T) {
	withPods(t, func(t *testing.T, s *scene, p *pods) {
		s.breaks("enrol 1 /ns/a [10.0.0.1]", errors.New("no such file"))
		s.breaks("admit 1", errors.New("map is full"))
		update(t, p, pod("a", "/ns/a", "10.0.0.1"), pod("bare", "")) // no settling while one is missing
		expect(t, s, "enrol 1 /ns/a [10.0.0.1]")
		want := []string{"Pod shop/a: not enrolled: no such file",
			"Pod shop/bare: not enrolled: the pod names no network namespace (annotation culvert.dev/netns)"}
		if got := p.problems(); !slices.Equal(got, want) {
			t.Fatalf("problems %q", got)
		}
		s.breaks("enrol 1 /ns/a [10.0.0.1]", nil)
		time.Sleep(600 * time.Millisecond)
		expect(t, s, "enrol 1 /ns/a [10.0.0.1]", "serve 1 shop/a [-1]", "admit 1", "forget 1 0s", "leave 1")
		s.breaks("admit 1", nil)
		time.Sleep(600 * time.Millisecond)
		expect(t, s, "enrol 2 /ns/a [10.0.0.1]", "serve 2 shop/a [-1]", "admit 2")
		if got := p.problems(); len(got) != 1 {
			t.Fatalf("problems %q", got)
		}
	})
}
