package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// world is what a root test runs in: a cgroup that only its client threads
// join, a bpffs, and two namespaces joined by a veth: a client's and a server's.
type world struct {
	t              testing.TB
	cgroup         string
	bpffs          string
	client, server string // namespace files
}

const (
	client4, client6 = "10.99.0.1", "fd00:99::1"
	server4, server6 = "10.99.0.2", "fd00:99::2"
	vip4, vip6       = "10.96.0.10:80", "[fd00:96::10]:80"
)

func newWorld(t testing.TB) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("root is needed for namespaces and eBPF, and CI must have it")
		}
		t.Skip("needs root for namespaces and eBPF")
	}
	w := &world{t: t, bpffs: filepath.Join(t.TempDir(), "bpffs")}
	w.cgroup = makeCgroup(t)
	w.client, w.server = makeNetns(t), makeNetns(t)
	w.join()
	t.Cleanup(func() {
		if err := Uninstall(Config{BPFFS: w.bpffs}); err != nil {
			t.Errorf("uninstall: %v", err)
		}
	})
	return w
}

// makeCgroup makes a threaded cgroup below our own, so that single threads can join.
func makeCgroup(t testing.TB) string {
	t.Helper()
	root, err := detectCgroup("/proc/self/mountinfo")
	must(t, err)
	own, err := os.ReadFile("/proc/self/cgroup")
	must(t, err)
	path := ""
	for line := range strings.Lines(string(own)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			path = rest
		}
	}
	dir, err := os.MkdirTemp(filepath.Join(root, path), "culvert-test-")
	must(t, err)
	t.Cleanup(func() {
		// The threads that joined are ending; the directory is busy until they have.
		eventually(t, "remove cgroup", func() bool { return os.Remove(dir) == nil })
	})
	must(t, os.WriteFile(filepath.Join(dir, "cgroup.type"), []byte("threaded"), 0))
	return dir
}

func makeNetns(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "netns")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if err := unix.Mount("/proc/thread-self/ns/net", file, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer links.Close()
		lo, err := links.LinkByName("lo")
		if err != nil {
			return err
		}
		return links.LinkSetUp(lo)
	}))
	t.Cleanup(func() { must(t, unix.Unmount(file, unix.MNT_DETACH)) })
	return file
}

// join makes the veth: eth0 in either namespace.
func (w *world) join() {
	peer := openFile(w.t, w.server)
	defer peer.Close()
	must(w.t, w.in(w.client, func() error {
		links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer links.Close()
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(peer.Fd())}
		if err := links.LinkAdd(veth); err != nil {
			return err
		}
		return configure(links, client4+"/24", client6+"/64")
	}))
	must(w.t, w.in(w.server, func() error {
		links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer links.Close()
		return configure(links, server4+"/24", server6+"/64")
	}))
}

func configure(links *netlink.Handle, addrs ...string) error {
	eth, err := links.LinkByName("eth0")
	if err != nil {
		return err
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := links.AddrAdd(eth, addr); err != nil {
			return err
		}
	}
	if err := links.LinkSetUp(eth); err != nil {
		return err
	}
	// Addresses of services are routed nowhere real: a connect that is not
	// captured gets no answer from them, or the server's if it has them.
	for _, via := range []string{server4, server6} {
		ip := net.ParseIP(via)
		_, all, _ := net.ParseCIDR(map[bool]string{true: "0.0.0.0/0", false: "::/0"}[ip.To4() != nil])
		if strings.HasPrefix(addrs[0], server4) {
			continue
		}
		if err := links.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Dst: all, Gw: ip}); err != nil {
			return err
		}
	}
	return nil
}

// in runs f on a thread in the namespace.
func (w *world) in(netns string, f func() error) error {
	return onThread(func() error {
		fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// app runs f on a thread in the client's namespace and in the test's cgroup, as a pod's program.
func (w *world) app(f func() error) error { return w.appIn(w.client, f) }

func (w *world) appIn(netns string, f func() error) error {
	return w.in(netns, func() error {
		if err := os.WriteFile(filepath.Join(w.cgroup, "cgroup.threads"), fmt.Append(nil, unix.Gettid()), 0); err != nil {
			return fmt.Errorf("join cgroup: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it. Never on the process's first
// thread: the runtime parks that one for ever instead of ending it.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

// serve answers each connection to addr in the server's namespace with one
// line, "direct NAME", and then with what it gets.
func (w *world) serve(addr, name string) netip.AddrPort {
	w.t.Helper()
	var l net.Listener
	must(w.t, w.in(w.server, func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	}))
	greet(w.t, l, func(net.Conn) string { return "direct " + name })
	return netip.MustParseAddrPort(l.Addr().String())
}

// own gives the server more addresses, such as a service's.
func (w *world) own(addrs ...string) {
	w.t.Helper()
	must(w.t, w.in(w.server, func() error {
		links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer links.Close()
		lo, err := links.LinkByName("lo")
		if err != nil {
			return err
		}
		for _, a := range addrs {
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			addr.Flags = unix.IFA_F_NODAD
			if err := links.AddrAdd(lo, addr); err != nil {
				return err
			}
		}
		return nil
	}))
}

// greet accepts until the test ends.
func greet(t testing.TB, l net.Listener, greeting func(net.Conn) string) {
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				fmt.Fprintln(c, greeting(c))
				io.Copy(c, struct{ io.Reader }{c})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
}

// open is Open in the world.
func (w *world) open() *Capture {
	w.t.Helper()
	c, err := Open(w.config())
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, c.Close()) })
	return c
}

func (w *world) config() Config {
	return Config{BPFFS: w.bpffs, CgroupRoot: w.cgroup, Loops: 2}
}

// enrol enrols and admits the client, with a proxy behind its listeners that
// greets with "proxy NAME for ORIGIN".
func (w *world) enrol(c *Capture, name string) Pod { return w.enrolAs(c, 7, name) }

func (w *world) enrolAs(c *Capture, id uint32, name string) Pod {
	w.t.Helper()
	pod, err := c.Enrol(Workload{ID: id, NetnsPath: w.client, Addresses: []netip.Addr{
		netip.MustParseAddr(client4), netip.MustParseAddr(client6)}})
	must(w.t, err)
	for _, fd := range pod.Listeners {
		f := os.NewFile(uintptr(fd), "listener")
		l, err := net.FileListener(f)
		must(w.t, err)
		f.Close()
		greet(w.t, l, func(conn net.Conn) string {
			origin, ok := c.Origin(conn.LocalAddr().(*net.TCPAddr).AddrPort())
			if !ok {
				return "no origin for " + conn.LocalAddr().String()
			}
			return fmt.Sprintf("proxy %s for %s", name, origin)
		})
	}
	must(w.t, c.Admit(id))
	return pod
}

// dialed is what a program sees of one connection.
type dialed struct {
	greeting      string
	local, remote netip.AddrPort
}

// dial is what most programs do; the error is connect's own.
func (w *world) dial(network, to string) (d dialed, err error) {
	err = w.app(func() error {
		d, err = dialHere(network, to)
		return err
	})
	return d, err
}

// dialHere is dial on a thread that is the program's already.
func dialHere(network, to string) (dialed, error) {
	dialer := net.Dialer{Timeout: 3 * time.Second}
	dialer.SetMultipathTCP(false)
	c, err := dialer.Dial(network, to)
	if err != nil {
		return dialed{}, err
	}
	defer c.Close()
	return look(c)
}

func look(c net.Conn) (dialed, error) {
	c.SetDeadline(time.Now().Add(3 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	return dialed{strings.TrimSpace(line), c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()}, err
}

func redirect(t testing.TB, c *Capture, origins ...Origin) {
	t.Helper()
	must(t, c.Release(origins))
	must(t, c.Redirect(origins))
}

func proxied(stance Stance, addrs ...string) (origins []Origin) {
	for _, a := range addrs {
		origins = append(origins, Origin{Addr: netip.MustParseAddrPort(a), Stance: stance})
	}
	return origins
}

func counter(t testing.TB, c *Capture, reason string) uint64 {
	t.Helper()
	all, err := c.Counters()
	must(t, err)
	for _, n := range all {
		if n.Reason == reason {
			return n.Count
		}
	}
	t.Fatalf("no counter %q", reason)
	return 0
}

func openFile(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, true_ func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !true_(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Errorf("%s: not within 5 s", what)
			return
		}
	}
}

func refused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }
