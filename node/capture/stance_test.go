package capture

import (
	"strings"
	"testing"
	"time"
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
