package main

import (
	"bytes"
	"context"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/culvert-mesh/culvert/test/world"
)

// healthEvent is a change of an endpoint's health, as the node logs it.
type healthEvent struct {
	at                time.Time
	backend, endpoint string
	from, to          string
	failures          int
}

// healthLine is such a line of the node's log.
var healthLine = regexp.MustCompile(`^time=(\S+) .*msg="endpoint health changed" backend=(\S+) endpoint=(\S+) from=(\S+) to=(\S+) failures=(\d+)`)

// healthLog reads the node's log as it is written, and keeps the changes of
// endpoints' health.
type healthLog struct {
	mu     sync.Mutex
	rest   []byte // guarded by mu: a line that is not complete
	events []healthEvent
}

// Write implements io.Writer; it never fails.
func (h *healthLog) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rest = append(h.rest, b...)
	for {
		line, rest, whole := bytes.Cut(h.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		h.rest = rest
		m := healthLine.FindSubmatch(line)
		if m == nil {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, string(m[1]))
		failures, _ := strconv.Atoi(string(m[6]))
		if err == nil {
			h.events = append(h.events, healthEvent{at, string(m[2]), string(m[3]), string(m[4]), string(m[5]), failures})
		}
	}
}

// of returns what happened to one endpoint since a time. The log's times are
// cut to milliseconds.
func (h *healthLog) of(endpoint string, since time.Time) []healthEvent {
	h.mu.Lock()
	defer h.mu.Unlock()
	var events []healthEvent
	for _, e := range h.events {
		if e.endpoint == endpoint && !e.at.Before(since.Truncate(time.Millisecond)) {
			events = append(events, e)
		}
	}
	return events
}

// await waits until an endpoint has gone over to a state, since a time.
func (h *healthLog) await(ctx context.Context, endpoint, to string, since time.Time) (healthEvent, error) {
	var found healthEvent
	err := world.Wait(ctx, endpoint+" to become "+to, func() (bool, error) {
		for _, e := range h.of(endpoint, since) {
			if e.to == to {
				found = e
				return true, nil
			}
		}
		return false, nil
	})
	return found, err
}
