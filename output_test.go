package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
)

// syncBuffer is output that a test waits on while a command writes to it.
type syncBuffer struct {
	mu      sync.Mutex
	buffer  bytes.Buffer
	changed chan struct{}
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// waitFor returns once the output holds text.
func (b *syncBuffer) waitFor(t *testing.T, text string) {
	t.Helper()
	for {
		b.mu.Lock()
		if strings.Contains(b.buffer.String(), text) {
			b.mu.Unlock()
			return
		}
		changed := make(chan struct{})
		b.changed = changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatalf("the output never held %q: %s", text, b.String())
		}
	}
}
