package xds

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Status is what the client has and waits for, for /debug/xds. A copy.
type Status struct {
	Connected bool `json:"connected"`
	// Since is when the stream opened or ended last.
	Since     time.Time `json:"since"`
	LastError string    `json:"last_error,omitempty"`
	// Restored says that the configuration came from the state file at start.
	Restored bool `json:"restored"`
	// Applied is the version of the configuration that is in use; "" before the
	// first one.
	Applied    string    `json:"applied"`
	AppliedAt  time.Time `json:"applied_at"`
	ApplyError string    `json:"apply_error,omitempty"`
	// Types is sorted by type.
	Types []TypeStatus `json:"types"`
	// Waiting lists resources that are named and have not come, sorted.
	Waiting []string `json:"waiting"`
	// Refused lists the resources whose newest version was refused, sorted; an
	// older version may be in use.
	Refused []string `json:"refused"`
	// Conflicts lists services that cannot go live beside others, sorted.
	Conflicts []string `json:"conflicts"`
}

// TypeStatus is about one type of resource.
type TypeStatus struct {
	Type string `json:"type"`
	// Version is what the control plane called its state in the last response.
	Version   string    `json:"version"`
	Responses uint64    `json:"responses"`
	NACKs     uint64    `json:"nacks"`
	LastNACK  string    `json:"last_nack,omitempty"`
	NACKedAt  time.Time `json:"nacked_at,omitzero"`
	// Resources maps names to versions.
	Resources map[string]string `json:"resources"`
}

// ledger is Status in the making.
type ledger struct {
	mu sync.Mutex
	// guarded by mu
	now     Status // Types is in the order of kind
	refused map[ref]string
	held    [kinds]map[string]string // versions by name
}

func newLedger() *ledger {
	s := &ledger{refused: map[ref]string{}, now: Status{Since: time.Now(), Types: make([]TypeStatus, kinds), Waiting: []string{}, Refused: []string{}, Conflicts: []string{}}}
	for k := range kinds {
		s.now.Types[k].Type = k.String()
		s.held[k] = map[string]string{}
	}
	return s
}

// Status returns what the client has and waits for. Any goroutine.
func (c *Client) Status() Status {
	c.status.mu.Lock()
	defer c.status.mu.Unlock()
	out := c.status.now
	// The lists inside are replaced, never changed.
	out.Types = slices.Clone(out.Types)
	for k := range kinds {
		out.Types[k].Resources = maps.Clone(c.status.held[k])
	}
	slices.SortFunc(out.Types, func(x, y TypeStatus) int { return cmp.Compare(x.Type, y.Type) })
	return out
}

func (s *ledger) opened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Connected, s.now.Since = true, time.Now()
	// What is still refused is sent again: its version here is another.
	s.refused, s.now.Refused = map[ref]string{}, []string{}
}

func (s *ledger) disconnected(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Connected, s.now.Since = false, time.Now()
	if err != nil {
		s.now.LastError = err.Error()
	}
}

func (s *ledger) restored() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Restored = true
}

func (s *ledger) answered(k kind, version string, faults []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.now.Types[k]
	t.Version = version
	t.Responses++
	if len(faults) > 0 {
		t.NACKs++
		t.LastNACK, t.NACKedAt = strings.Join(faults[:min(len(faults), maxFaults)], "; "), time.Now()
	}
}

// refuses replaces what is known to be refused of the resources of a response:
// nil for one that was taken or removed.
func (s *ledger) refuses(of map[ref]error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r, err := range of {
		delete(s.refused, r)
		if err != nil {
			s.refused[r] = fmt.Sprintf("%s %q: %v", r.kind, r.name, err)
		}
	}
	s.now.Refused = slices.Sorted(maps.Values(s.refused))
	if s.now.Refused == nil {
		s.now.Refused = []string{}
	}
}

// holds takes over what changed in the accepted set.
func (s *ledger) holds(accepted *set, touched []change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range touched {
		if r := accepted[t.kind][t.name]; r != nil {
			s.held[t.kind][t.name] = r.version
		} else {
			delete(s.held[t.kind], t.name)
		}
	}
}

func (s *ledger) waits(missing map[ref]string, conflicts map[string]string) {
	waiting := make([]string, 0, len(missing))
	for r, who := range missing {
		waiting = append(waiting, fmt.Sprintf("%s %q: named by %s", r.kind, r.name, who))
	}
	slices.Sort(waiting)
	held := make([]string, 0, len(conflicts))
	for _, name := range slices.Sorted(maps.Keys(conflicts)) {
		held = append(held, fmt.Sprintf("listener %q: %s", name, conflicts[name]))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Waiting, s.now.Conflicts = waiting, held
}

func (s *ledger) applied(version string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.now.ApplyError = err.Error()
		return
	}
	s.now.Applied, s.now.AppliedAt, s.now.ApplyError = version, time.Now(), ""
}
