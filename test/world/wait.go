package world

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Wait looks at a condition every few milliseconds until it holds, it returns
// an error, or ctx ends; 20 s when ctx has no deadline of its own. what names
// the condition in the error.
func Wait(ctx context.Context, what string, holds func() (bool, error)) error {
	if _, ok := ctx.Deadline(); !ok {
		bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		ctx = bounded
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		ok, err := holds()
		if err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		}
	}
}

// listens says whether the namespace of the calling thread has a TCP listener
// on port.
func listens(port uint16) (bool, error) {
	const tcpListen = "0A" // TCP_LISTEN of include/net/tcp_states.h
	for _, name := range []string{"tcp", "tcp6"} {
		table, err := os.ReadFile("/proc/thread-self/net/" + name)
		if err != nil {
			return false, fmt.Errorf("read listeners: %w", err)
		}
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line)
			if len(f) < 4 || f[3] != tcpListen {
				continue
			}
			_, hex, _ := strings.Cut(f[1], ":")
			if p, err := strconv.ParseUint(hex, 16, 16); err == nil && uint16(p) == port {
				return true, nil
			}
		}
	}
	return false, nil
}
