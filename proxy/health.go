package proxy

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/culvert-mesh/culvert/proxy/upstream"
)

// An endpoint may change its health with every request, and a line for each would
// flood the log: after healthBurst lines in healthWindow, enough for an ejection
// with its probes, it has one line per window, which tells the newest change and
// how many were left out. The last change is always told. Debug has them all.
const (
	healthBurst  = 4
	healthWindow = time.Second
)

// healthLog writes changes of endpoints' health to the log.
type healthLog struct {
	// set at construction
	log     *slog.Logger
	changes chan upstream.Change // closed by who is done sending

	// owned by run
	recent map[healthKey]*healthLines // endpoints that changed in this window
	window *time.Timer                // runs while there are any
}

type healthKey struct {
	backend  string
	endpoint netip.AddrPort
}

// healthLines are those of one endpoint in this window.
type healthLines struct {
	written int
	leftOut int
	newest  upstream.Change // of those left out
}

func newHealthLog(log *slog.Logger) *healthLog {
	return &healthLog{log: log, changes: make(chan upstream.Change), recent: map[healthKey]*healthLines{}}
}

// changed hands a change to run, and waits while the log is slow.
func (h *healthLog) changed(c upstream.Change) { h.changes <- c }

// run writes until changes is closed.
func (h *healthLog) run() {
	h.window = time.NewTimer(healthWindow)
	h.window.Stop()
	defer h.window.Stop()
	for {
		select {
		case c, more := <-h.changes:
			if !more {
				h.nextWindow()
				return
			}
			h.take(c)
		case <-h.window.C:
			h.nextWindow()
		}
	}
}

func (h *healthLog) take(c upstream.Change) {
	key := healthKey{c.Backend, c.Endpoint}
	lines := h.recent[key]
	if lines == nil {
		if len(h.recent) == 0 {
			h.window.Reset(healthWindow)
		}
		lines = &healthLines{}
		h.recent[key] = lines
	}
	if lines.written < healthBurst {
		lines.written++
		h.write(slog.LevelInfo, c, 0)
		return
	}
	lines.leftOut++
	lines.newest = c
	h.write(slog.LevelDebug, c, 0)
}

// nextWindow tells what was left out, and forgets the endpoints that were quiet
// enough: they have a burst again.
func (h *healthLog) nextWindow() {
	for key, lines := range h.recent {
		if lines.leftOut == 0 {
			delete(h.recent, key)
			continue
		}
		h.write(slog.LevelInfo, lines.newest, lines.leftOut-1)
		lines.written, lines.leftOut = healthBurst, 0
	}
	if len(h.recent) > 0 {
		h.window.Reset(healthWindow)
	}
}

func (h *healthLog) write(level slog.Level, c upstream.Change, leftOut int) {
	attrs := []slog.Attr{
		slog.String("backend", c.Backend), slog.String("endpoint", c.Endpoint.String()),
		slog.String("from", c.From.String()), slog.String("to", c.To.String()),
		slog.Uint64("failures", uint64(c.Failures)), slog.Uint64("ejections", uint64(c.Ejections)), slog.Int("usable", c.Usable),
	}
	if leftOut > 0 {
		attrs = append(attrs, slog.Int("left_out", leftOut))
	}
	h.log.LogAttrs(context.Background(), level, "endpoint health changed", attrs...)
}
