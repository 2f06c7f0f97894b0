package capture

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails when the tests left a descriptor of a BPF object or a socket,
// or a goroutine.
func TestMain(m *testing.M) {
	goroutines := runtime.NumGoroutine()
	code := m.Run()
	if code == 0 {
		deadline := time.Now().Add(5 * time.Second)
		for {
			open := openObjects()
			if len(open) == 0 && runtime.NumGoroutine() <= goroutines {
				break
			}
			if time.Now().After(deadline) {
				fmt.Printf("left: descriptors %v, %d goroutines\n", open, runtime.NumGoroutine()-goroutines)
				code = 1
				break
			}
			runtime.Gosched()
		}
	}
	os.Exit(code)
}

func openObjects() (open []string) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && (strings.Contains(to, "bpf") || strings.HasPrefix(to, "socket:") || strings.HasPrefix(to, "net:")) {
			open = append(open, to)
		}
	}
	return open
}
