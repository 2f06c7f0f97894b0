package proxy

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// healthWorld runs a log on virtual time.
type healthWorld struct {
	log  *healthLog
	out  bytes.Buffer
	done chan struct{}
}

func newHealthWorld(level slog.Level) *healthWorld {
	w := &healthWorld{done: make(chan struct{})}
	w.log = newHealthLog(slog.New(slog.NewTextHandler(&w.out, &slog.HandlerOptions{Level: level})))
	go func() {
		defer close(w.done)
		w.log.run()
	}()
	return w
}

// flip lets an endpoint go to Last and back n times, a millisecond apart.
func (w *healthWorld) flip(port uint16, n int) {
	c := upstream.Change{Backend: "shop/cart:80", Endpoint: netip.AddrPortFrom(netip.IPv4Unspecified(), port)}
	for range n {
		c.From, c.To = upstream.Healthy, upstream.Last
		w.log.changed(c)
		c.From, c.To = upstream.Last, upstream.Healthy
		w.log.changed(c)
		<-time.After(time.Millisecond)
	}
}

// lines returns what was written since the last call.
func (w *healthWorld) lines() []string {
	synctest.Wait()
	all := strings.Split(strings.TrimSuffix(w.out.String(), "\n"), "\n")
	w.out.Reset()
	return all
}

// TestHealthLogIsBounded: an endpoint that changes all the time has a burst of
// lines and then one a second, which say how many there are no lines of; the last
// change is told, and who was quiet for a second has a burst again.
func TestHealthLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHealthWorld(slog.LevelInfo)
		w.flip(1, 4990) // just below 5 s
		<-time.After(healthWindow)
		lines := w.lines()
		if len(lines) != healthBurst+5 {
			t.Errorf("%d lines", len(lines))
		}
		told := healthBurst
		for _, line := range lines[min(healthBurst, len(lines)):] {
			var n int
			if _, err := fmt.Sscanf(line[strings.LastIndex(line, "left_out="):], "left_out=%d", &n); err != nil {
				t.Errorf("%q: %v", line, err)
			}
			told += n + 1
		}
		if told != 2*4990 {
			t.Errorf("the lines tell of %d changes, want %d", told, 2*4990)
		}
		if last := lines[len(lines)-1]; !strings.Contains(last, "from=last to=closed ") {
			t.Errorf("the last line is %q", last)
		}

		<-time.After(2 * healthWindow)
		synctest.Wait()
		if len(w.log.recent) != 0 {
			t.Errorf("%d endpoints are remembered", len(w.log.recent))
		}
		w.flip(1, 2)
		w.flip(2, 2)
		if lines := w.lines(); len(lines) != 8 || strings.Contains(strings.Join(lines, ""), "left_out") {
			t.Errorf("two endpoints with two flips each: %q", lines)
		}
		w.flip(1, 1)
		close(w.log.changes)
		<-w.done
		if lines := w.lines(); len(lines) != 1 || !strings.Contains(lines[0], "left_out=1") {
			t.Errorf("at the end: %q", lines)
		}
	})
}

// TestHealthLogAtDebug has a line for each change, and the bounded ones.
func TestHealthLogAtDebug(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHealthWorld(slog.LevelDebug)
		w.flip(1, 10)
		close(w.log.changes)
		<-w.done
		if lines := w.lines(); len(lines) != 21 {
			t.Errorf("%d lines, want 20 and 1", len(lines))
		}
	})
}
