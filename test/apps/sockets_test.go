package apps

import (
	"fmt"
	"testing"

	"github.com/culvert-mesh/culvert/test/world"
)

// python runs cases of testdata/client.py, separated by spaces, in the client pod.
func (f *fixture) python(t *testing.T, args ...string) {
	t.Helper()
	f.pythonIn(t, f.client, args...)
}

func (f *fixture) pythonIn(t *testing.T, in *world.Pod, args ...string) {
	t.Helper()
	mustContain(t, f.run(t, in, append([]string{"python3", script(t, "client.py")}, args...)...), "ok")
}

// pythonStories: Python's HTTP clients.
func pythonStories(t *testing.T, f *fixture) {
	f.echo(t)
	for _, s := range []service{{"echo", true}, {"echo-any", false}} {
		addr := f.addr(t, s)
		host, port := addr.Addr().String(), fmt.Sprint(addr.Port())
		t.Run(s.String(), func(t *testing.T) {
			f.went(t, f.client, s, way{HTTP: 1, Requests: 8}, func() { f.python(t, "http_client", host, port) })
			f.went(t, f.client, s, way{HTTP: 2, Requests: 2}, func() { f.python(t, "urllib_client", host, port) })
			f.went(t, f.client, s, way{HTTP: 1, Requests: 1}, func() { f.python(t, "raw_half_closed", host, port) })
			f.went(t, f.client, s, way{HTTP: 1, Requests: 51}, func() { f.python(t, "raw_pipelined", host, port) })
		})
	}
}

// socketStories: what applications do with sockets, to a port that the kernel
// balances and to one that goes through the proxy. The server counts what comes
// and answers when the client's side is shut.
func socketStories(t *testing.T, f *fixture) {
	f.quiet(t)
	for _, s := range []service{{"tcp", false}, {"tcp", true}, {"tcp-any", false}, {"tcp-any", true}} {
		t.Run(s.String(), func(t *testing.T) {
			cases := "names bound nonblocking half_close at_once_closed byte_by_byte asyncio_streams fast_open again multipath"
			want := through(s, 6+20+1+2+1)
			if !s.v6 {
				cases += " mapped"
				want = want.and(through(s, 1))
			}
			addr := f.addr(t, s)
			f.went(t, f.client, s, want, func() {
				f.python(t, cases, addr.Addr().String(), fmt.Sprint(addr.Port()), f.own(f.client, s))
			})
		})
	}
}

// quiet starts the server of socketStories.
func (f *fixture) quiet(t *testing.T) {
	t.Helper()
	if f.started["quiet"] {
		return
	}
	if _, err := f.server.TCPPeer(t.Context(), quietPort, "--quiet"); err != nil {
		t.Fatal(err)
	}
	f.started["quiet"] = true
}

// untouched: what Culvert has no business with goes as if it were not there. VIPs
// work without it in this world, by kube-proxy's rules.
func untouched(t *testing.T, f *fixture) {
	f.echo(t)
	f.quiet(t)
	for _, v6 := range []bool{false, true} {
		echo, tcp := service{"echo", v6}, service{"tcp-any", v6}
		direct, outside, inside := f.server.Addr4(quietPort), f.outsider.IP4, f.client.IP4
		if v6 {
			direct, outside, inside = f.server.Addr6(quietPort), f.outsider.IP6, f.client.IP6
		}
		addr := f.addr(t, tcp)
		t.Run(tcp.String()+"/unenrolled pod", func(t *testing.T) {
			f.passed(t, "not_enrolled", 2, func() {
				mustContain(t, f.run(t, f.outsider, "curl", "-sS", f.url(t, echo)), `"remote":"`+outside.String()+`"`)
				f.pythonIn(t, f.outsider, "names", addr.Addr().String(), fmt.Sprint(addr.Port()), outside.String())
			})
		})
		t.Run(tcp.String()+"/unknown destination", func(t *testing.T) {
			f.passed(t, "unknown_origin", 1, func() {
				f.python(t, "names", direct.Addr().String(), fmt.Sprint(direct.Port()), inside.String())
			})
		})
		t.Run(tcp.String()+"/socket of a device", func(t *testing.T) {
			f.passed(t, "bound_device", 1, func() {
				f.python(t, "device", addr.Addr().String(), fmt.Sprint(addr.Port()), "eth0")
			})
		})
		t.Run(tcp.String()+"/UDP", func(t *testing.T) { f.udpUntouched(t, tcp) })
	}
}

// udpUntouched sends datagrams to the address and port of a TCP service. A rule
// like kube-proxy's brings them to a server.
func (f *fixture) udpUntouched(t *testing.T, s service) {
	addr := f.addr(t, s)
	family, match, to := "ip", addr.Addr().String(), f.server.Addr4(quietPort)
	if s.v6 {
		family, to = "ip6", f.server.Addr6(quietPort)
	}
	if !f.started["udp"] {
		p := f.w.Start(f.server.Place, find(t, "python3"), script(t, "client.py"), "udp_server", "-", fmt.Sprint(quietPort))
		f.waitOutput(t, p, "listening")
		f.started["udp"] = true
	}
	f.run(t, f.client, "nft", fmt.Sprintf("table %s datagrams { chain output { type nat hook output priority -99; %s daddr %s udp dport %d dnat to %s; }; }", family, family, match, addr.Port(), to))
	f.passed(t, "not_tcp", 1, func() {
		f.python(t, "udp", addr.Addr().String(), fmt.Sprint(addr.Port()))
	})
}
