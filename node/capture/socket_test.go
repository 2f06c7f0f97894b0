package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// TestOwnSockets: what Socket makes is in the pod and is never captured.
func TestOwnSockets(t *testing.T) {
	w := newWorld(t)
	w.own("10.96.0.10/32", "fd00:96::10/128")
	w.serve(vip4, "4")
	w.serve(vip6, "6")
	c := w.open()
	w.enrol(c, "a")
	alive(c)
	redirect(t, c, proxied(StanceClosed, vip4, vip6)...)
	endpoint4, endpoint6 := w.serve(server4+":0", "endpoint 4"), w.serve("["+server6+"]:0", "endpoint 6")
	before, strangers := counter(t, c, "own_socket"), counter(t, c, "unknown_origin")
	for _, addr := range []netip.AddrPort{netip.MustParseAddrPort(vip4), netip.MustParseAddrPort(vip6), endpoint4, endpoint6} {
		family := unix.AF_INET
		if addr.Addr().Is6() {
			family = unix.AF_INET6
		}
		// In the hooks' cgroup, as the proxy may well be, but not in the pod.
		must(t, w.appIn(w.server, func() error {
			fd, err := c.Socket(7, addr.Addr().Is6())
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.Connect(fd, sockaddr(family, addr)); err != unix.EINPROGRESS {
				return fmt.Errorf("connect: %v, want in progress", err)
			}
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 3000); err != nil {
				return err
			}
			buf := make([]byte, 64)
			n, err := unix.Read(fd, buf)
			if n < 0 || !strings.HasPrefix(string(buf[:n]), "direct") {
				return fmt.Errorf("reached %q, %v", buf[:max(n, 0)], err)
			}
			return nil
		}))
	}
	if n := counter(t, c, "own_socket") - before; n != 4 {
		t.Errorf("counted %d, want 4", n)
	}
	if n := counter(t, c, "unknown_origin") - strangers; n != 0 {
		t.Errorf("%d of our own connects were counted as a pod's to an unknown origin", n)
	}
	if _, err := c.Socket(8, false); err != ErrNotEnrolled {
		t.Errorf("socket of a stranger: %v", err)
	}
}

// TestSocketStaysHome: no thread of this process is in a pod afterwards,
// whether the callers were locked to theirs or not.
func TestSocketStaysHome(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.enrol(c, "a")
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			if i%2 == 0 {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
			}
			for range 500 {
				fd, err := c.Socket(7, i%4 < 2)
				if err != nil {
					t.Error(err)
					return
				}
				if cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err != nil || cookie != (*c.pods.Load())[7].cookie {
					t.Errorf("socket is in namespace %d, %v", cookie, err)
				}
				unix.Close(fd)
				var here, home unix.Stat_t
				if err := errors.Join(unix.Stat("/proc/thread-self/ns/net", &here), unix.Fstat(c.home, &home)); err != nil || here.Ino != home.Ino {
					t.Errorf("thread is in namespace %d, not %d: %v", here.Ino, home.Ino, err)
				}
			}
		})
	}
	callers.Wait()
	if allocs := testing.AllocsPerRun(100, func() {
		fd, err := c.Socket(7, false)
		must(t, err)
		unix.Close(fd)
	}); allocs != 0 {
		t.Errorf("%v allocations per socket", allocs)
	}
}

// BenchmarkHook is what the connect hook itself takes, as the kernel measures
// it: connects of non-blocking sockets to a port of lo where nobody is.
func BenchmarkHook(b *testing.B) {
	w := newWorld(b)
	c, err := Open(w.config())
	must(b, err)
	b.Cleanup(func() { c.Close() })
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	must(b, err)
	defer stats.Close()
	nobody := netip.MustParseAddrPort("127.0.0.1:1")
	run := func(name string) {
		b.Run(name, func(b *testing.B) {
			before, err := c.objects.Connect4.Stats()
			must(b, err)
			must(b, w.app(func() error { return connects(b, nobody) }))
			after, err := c.objects.Connect4.Stats()
			must(b, err)
			b.ReportMetric(float64(after.Runtime-before.Runtime)/float64(after.RunCount-before.RunCount), "hook-ns")
		})
	}
	run("not-enrolled")
	w.enrol(c, "a")
	run("unknown-origin")
	redirect(b, c, Origin{Addr: nobody, Mode: ModeProxy})
	run("away-open")
	redirect(b, c, Origin{Addr: nobody, Mode: ModeKernel, Endpoints: []Endpoint{{nobody, 1}}})
	run("kernel-choice")
	redirect(b, c, Origin{Addr: nobody, Mode: ModeProxy})
	alive(c)
	p := (*c.pods.Load())[7]
	value := p.value
	value.Port4 = swap(1) // rewritten to a port where nobody is, so that the rest is the same
	must(b, c.objects.Workloads.Put(p.cookie, &value))
	run("to-proxy")
}

func connects(b *testing.B, to netip.AddrPort) error {
	sa := sockaddr(unix.AF_INET, to)
	for b.Loop() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		err = unix.Connect(fd, sa)
		unix.Close(fd)
		if err != unix.ECONNREFUSED && err != unix.EINPROGRESS {
			return err
		}
	}
	return nil
}

func BenchmarkSocket(b *testing.B) {
	w := newWorld(b)
	c, err := Open(w.config())
	must(b, err)
	b.Cleanup(func() { c.Close() })
	w.enrol(c, "a")
	plain := func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			must(b, err)
			unix.Close(fd)
		}
	}
	b.Run("plain", plain)
	b.Run("in-pod", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			fd, err := c.Socket(7, false)
			must(b, err)
			unix.Close(fd)
		}
	})
	b.Run("exempt", func(b *testing.B) {
		for b.Loop() {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			must(b, err)
			must(b, c.objects.Exempt(fd))
			unix.Close(fd)
		}
	})
	b.Run("beat", func(b *testing.B) {
		for b.Loop() {
			c.Beat(0)
		}
	})
	b.Run("origin", func(b *testing.B) {
		redirect(b, c, proxied(StanceOpen, vip4)...)
		local := netip.MustParseAddrPort("127.64.0.1:1")
		for b.Loop() {
			c.Origin(local)
		}
	})
}
