package proxytest

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sort"
	"strings"
	"testing"
	"time"
)

// Main runs a package's tests and fails when they leave goroutines or descriptors behind:
//
//	func TestMain(m *testing.M) { os.Exit(proxytest.Main(m)) }
func Main(m *testing.M) int {
	// The runtime opens its own poller with the first socket, and keeps it.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close()
	}
	goroutines, descriptors := runtime.NumGoroutine(), openFDs()
	code := m.Run()
	if code != 0 {
		return code
	}
	var left string
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); {
		if left = leaks(goroutines, descriptors); left == "" {
			return 0
		}
		<-time.After(5 * time.Millisecond) // goroutines that are on their way out
	}
	fmt.Fprintf(os.Stderr, "leak: %s\n", left)
	return 1
}

func leaks(goroutines int, descriptors map[string]string) string {
	var left []string
	for fd, what := range openFDs() {
		if descriptors[fd] != what {
			left = append(left, "descriptor "+fd+" "+what)
		}
	}
	sort.Strings(left)
	if n := runtime.NumGoroutine(); n > goroutines {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		left = append(left, fmt.Sprintf("%d goroutines more than before:\n%s", n-goroutines, stacks))
	}
	return strings.Join(left, "\n")
}

// openFDs maps this process's descriptors to what they are.
func openFDs() map[string]string {
	out := map[string]string{}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if what, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			out[e.Name()] = what
		}
	}
	return out
}
