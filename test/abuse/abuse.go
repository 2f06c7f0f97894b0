// Package abuse attacks an HTTP/1.1 proxy the way the catalogue of known request
// smuggling and response splitting faults does, and checks three things for
// each attack: the answer, whether the connection was closed, and which requests
// the server behind the proxy took out of it. It knows nothing of the proxy but
// a way to dial it. Any test that has a proxy and a listener behind it may call
// Run, from the test's goroutine.
package abuse

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// Config says where the proxy and its upstream are.
type Config struct {
	// Dial opens a new connection to the proxy, as a client of Host would.
	Dial func() (net.Conn, error)
	// Upstream is where the proxy sends all requests, whatever their target.
	// Run serves it, and closes it at the end of the test.
	Upstream net.Listener
	// Host is the Host that the requests name; "": abuse.test.
	Host string
	// Patience bounds the wait for each answer or close; 0: 5 s.
	Patience time.Duration
}

// A probe is one attack: bytes to send and what must come of them. In send and reply
// "{T}" stands for a target that only this probe uses, "{H}" for the host; "|" is CRLF.
type probe struct {
	name string
	send string
	// reply is what the upstream answers, raw; "": 200 with a body that names the target.
	reply string
	// want are the statuses of the final responses, in order.
	want []int
	// open: the connection can be used again afterwards; else it must be closed.
	open bool
	// either: closed or in step, both are sound.
	either bool
	// cut: the last response must not look complete.
	cut bool
	// seen are the requests that the upstream takes out, "METHOD target body".
	seen []string
	// partial: the upstream may see a request that never completes, or nothing.
	partial bool
	// dribble sends one byte at a time.
	dribble bool
}

// Run sends the whole catalogue.
func Run(t *testing.T, c Config) {
	if c.Host == "" {
		c.Host = "abuse.test"
	}
	if c.Patience == 0 {
		c.Patience = 5 * time.Second
	}
	up := serve(c.Upstream)
	t.Cleanup(up.stop)
	r := runner{Config: c, up: up}
	probes := slices.Concat(refused(), dribbled(refused()), badBodies(), accepted(), badReplies(), desyncs())
	for i, p := range probes {
		p.fill(i, c.Host)
		t.Run(p.name, func(t *testing.T) { r.attack(t, &p, target(i)) })
		probes[i] = p
	}
	// A fence: what a probe smuggled would have been forwarded before this.
	r.checkAlive(t, target(len(probes)))
	for i := range probes {
		checkSeen(t, &probes[i], up.seen(target(i)))
	}
	t.Logf("%d probes", len(probes))
}

func target(i int) string { return fmt.Sprintf("/t/%d", i) }

// fill replaces the placeholders.
func (p *probe) fill(i int, host string) {
	replace := strings.NewReplacer("{T}", target(i), "{H}", host, "|", "\r\n")
	p.send, p.reply = replace.Replace(p.send), replace.Replace(p.reply)
	p.seen = slices.Clone(p.seen)
	for k := range p.seen {
		p.seen[k] = replace.Replace(p.seen[k])
	}
}

func checkSeen(t *testing.T, p *probe, got []request) {
	t.Helper()
	var whole []string
	for _, q := range got {
		if q.complete {
			whole = append(whole, q.String())
		} else if !p.partial {
			t.Errorf("%s: the upstream saw a part of %s", p.name, q.String())
		}
	}
	// A bad reply to a request that may be repeated may be tried again.
	if p.reply != "" {
		whole = slices.Compact(whole)
	}
	if p.partial && len(whole) == 0 {
		return
	}
	if !slices.Equal(whole, p.seen) {
		t.Errorf("%s: the upstream saw %q, want %q\nsent %.300q", p.name, whole, p.seen, p.send)
	}
}
