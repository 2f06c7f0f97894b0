package capture

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/bpf"
)

// TestStance: who decides while the proxy is away, and what away means.
func TestStance(t *testing.T) {
	w := newWorld(t)
	w.own("10.96.0.10/32", "fd00:96::10/128")
	w.serve(vip4, "4")
	w.serve(vip6, "6")
	c := w.open()
	w.enrol(c, "a")

	expect := func(when string, stance Stance, alive bool) {
		t.Helper()
		redirect(t, c, proxied(stance, vip4, vip6)...)
		for network, to := range map[string]string{"tcp4": vip4, "tcp6": vip6} {
			d, err := w.dial(network, to)
			switch {
			case alive:
				if !strings.HasPrefix(d.greeting, "proxy a") {
					t.Errorf("%s, %s: %q, %v, want the proxy", when, network, d.greeting, err)
				}
			case stance == StanceOpen:
				if !strings.HasPrefix(d.greeting, "direct") {
					t.Errorf("%s, open, %s: %q, %v, want direct", when, network, d.greeting, err)
				}
			case !refused(err):
				t.Errorf("%s, closed, %s: %q, %v, want refused", when, network, d.greeting, err)
			}
		}
	}
	both := func(when string, alive bool) {
		t.Helper()
		expect(when, StanceOpen, alive)
		expect(when, StanceClosed, alive)
	}
	both("before any beat", false)
	c.Beat(0)
	both("before the second loop's beat", false)
	stop := alive(c)
	both("alive", true)
	stop()
	both("stale", false)
	alive(c)
	c.beat.entry.Stamp[1] = 0
	both("one loop stuck", false)

	// A real beat, and real time.
	redirect(t, c, proxied(StanceClosed, vip4)...)
	eventually(t, "alive by beats", func() bool {
		c.Beat(0)
		c.Beat(1)
		d, err := w.dial("tcp4", vip4)
		return err == nil && strings.HasPrefix(d.greeting, "proxy a")
	})
	c.Beat(0)
	c.Beat(1)
	last := time.Now()
	eventually(t, "stale", func() bool { _, err := w.dial("tcp4", vip4); return refused(err) })
	if d := time.Since(last); d < 200*time.Millisecond {
		t.Errorf("became stale after %v, want 200 ms", d)
	}
	for _, reason := range []string{"away_open", "away_closed", "to_proxy"} {
		if counter(t, c, reason) == 0 {
			t.Errorf("%s was never counted", reason)
		}
	}
}

// TestKernelChoice: the hook spreads connections by weight, with no proxy at all.
func TestKernelChoice(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.enrol(c, "a") // and nobody beats
	for vip, server := range map[string]string{vip4: server4 + ":0", vip6: "[" + server6 + "]:0"} {
		heavy, light, never := w.serve(server, "heavy"), w.serve(server, "light"), w.serve(server, "never")
		origin := Origin{Addr: netip.MustParseAddrPort(vip), Mode: ModeKernel, Stance: StanceClosed,
			Endpoints: []Endpoint{{heavy, 3}, {light, 1}, {never, 0}}}
		redirect(t, c, origin)

		const n = 400
		got := map[string]int{}
		for range n {
			d, err := w.dial("tcp", vip)
			must(t, err)
			if d.remote != origin.Addr {
				t.Fatalf("getpeername says %s, want %s", d.remote, origin.Addr)
			}
			got[d.greeting]++
		}
		// Four standard deviations of a binomial with p = 3/4.
		if off := math.Abs(float64(got["direct heavy"] - n*3/4)); off > 4*math.Sqrt(n*3./16) || got["direct light"]+got["direct heavy"] != n {
			t.Errorf("%s: weights 3:1:0 gave %v", vip, got)
		}
		balanced, err := c.Balanced()
		must(t, err)
		if !contains(balanced, BalancedCounter{origin.Addr, n}) {
			t.Errorf("%s: counted %v, want %d", vip, balanced, n)
		}

		origin.Endpoints = origin.Endpoints[1:]
		redirect(t, c, origin)
		if d, err := w.dial("tcp", vip); d.greeting != "direct light" {
			t.Errorf("%s: after an update: %q, %v", vip, d.greeting, err)
		}
		origin.Endpoints = nil
		redirect(t, c, origin)
		if _, err := w.dial("tcp", vip); !refused(err) {
			t.Errorf("%s: with no endpoint: %v, want refused", vip, err)
		}
	}
	if counter(t, c, "no_endpoint") != 2 || counter(t, c, "to_endpoint") != 802 {
		t.Errorf("counted %d and %d", counter(t, c, "no_endpoint"), counter(t, c, "to_endpoint"))
	}
	// A replaced generation goes once nobody can be reading it.
	for i := range c.origins.garbage {
		c.origins.garbage[i].since = time.Now().Add(-2 * slotKeep)
	}
	redirect(t, c)
	for i := range c.origins.garbage {
		c.origins.garbage[i].since = time.Now().Add(-2 * slotKeep)
	}
	redirect(t, c)
	var key bpf.SlotKey
	var slot bpf.Slot
	if it := c.objects.Endpoints.Iterate(); it.Next(&key, &slot) {
		t.Errorf("slot %+v is left", key)
	}
}

func contains[T comparable](all []T, one T) bool {
	for _, a := range all {
		if a == one {
			return true
		}
	}
	return false
}

// TestAliasSlots: the table gives each endpoint its share, exactly but for rounding.
func TestAliasSlots(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var endpoints []Endpoint
		var total float64
		for i := range random.IntN(20) {
			weight := uint32(random.IntN(5)) * uint32(1+random.IntN(1000))
			endpoints = append(endpoints, Endpoint{netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(1+i)), weight})
			total += float64(weight)
		}
		share := map[uint16]float64{}
		slots := aliasSlots(endpoints)
		for _, s := range slots {
			first := float64(s.Threshold) / (1 << 32)
			share[swap(s.FirstPort)] += first / float64(len(slots))
			share[swap(s.SecondPort)] += (1 - first) / float64(len(slots))
		}
		for _, e := range endpoints {
			want := 0.
			if total > 0 {
				want = float64(e.Weight) / total
			}
			if got := share[e.Addr.Port()]; math.Abs(got-want) > 1e-6 {
				t.Fatalf("round %d: %v: port %d has %v, want %v", round, endpoints, e.Addr.Port(), got, want)
			}
		}
	}
}

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
	before := counter(t, c, "own_socket")
	for _, to := range []string{vip4, vip6} {
		addr := netip.MustParseAddrPort(to)
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
	if n := counter(t, c, "own_socket") - before; n != 2 {
		t.Errorf("counted %d, want 2", n)
	}
	if _, err := c.Socket(8, false); err != ErrNotEnrolled {
		t.Errorf("socket of a stranger: %v", err)
	}
}

// BenchmarkConnect is connect(2) alone, of a non-blocking socket to an address
// that answers at once (lo, a port where nobody is): the hook's share is the difference.
func BenchmarkConnect(b *testing.B) {
	w := newWorld(b)
	c, err := Open(w.config())
	must(b, err)
	b.Cleanup(func() { c.Close() })
	closedPort := "127.0.0.1:1"
	run := func(name string, dialer func(func() error) error) {
		b.Run(name, func(b *testing.B) {
			must(b, dialer(func() error { return connects(b, netip.MustParseAddrPort(closedPort)) }))
		})
	}
	out := func(f func() error) error { return w.in(w.client, f) }
	run("outside", out)
	run("not-enrolled", w.app)
	w.enrol(c, "a")
	run("unknown-origin", w.app)
	redirect(b, c, Origin{Addr: netip.MustParseAddrPort(closedPort), Mode: ModeProxy})
	run("away-open", w.app)
	redirect(b, c, Origin{Addr: netip.MustParseAddrPort(closedPort), Mode: ModeKernel,
		Endpoints: []Endpoint{{netip.MustParseAddrPort(closedPort), 1}}})
	run("kernel-choice", w.app)
	alive(c)
	redirect(b, c, Origin{Addr: netip.MustParseAddrPort(closedPort), Mode: ModeProxy})
	p := (*c.pods.Load())[7]
	value := p.value
	value.Port4 = swap(1) // the rewrite, to a port where nobody is, so that the rest is the same
	must(b, c.objects.Workloads.Put(p.cookie, &value))
	run("to-proxy", w.app)
}

func connects(b *testing.B, to netip.AddrPort) error {
	sa := sockaddr(unix.AF_INET, to)
	var spent time.Duration
	for b.Loop() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		start := time.Now()
		err = unix.Connect(fd, sa)
		spent += time.Since(start)
		unix.Close(fd)
		if err != unix.ECONNREFUSED && err != unix.EINPROGRESS {
			return err
		}
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "connect-ns")
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
