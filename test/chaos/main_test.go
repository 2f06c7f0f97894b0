package chaos

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/world"
)

// soakUntil is when a churn ends: -soak, or what is usual.
func soakUntil(usual time.Duration) time.Time {
	if d, ok := flag.Lookup("soak").Value.(flag.Getter).Get().(time.Duration); ok && d > 0 {
		usual = d
	}
	return time.Now().Add(usual)
}

// TestMain fails when the tests left a goroutine or an object of BPF.
func TestMain(m *testing.M) {
	flag.Duration("soak", 0, "how long each churn goes on; 0: a few seconds")
	flag.String("binary", "", "the culvert `program` to break, such as one built with -race; \"\": this module's")
	flag.Parse()
	before := runtime.NumGoroutine()
	code := m.Run()
	if code == 0 {
		// One belongs to the guard of the worlds, for as long as the process.
		err := world.Wait(context.Background(), "goroutines and descriptors to end", func() (bool, error) {
			return runtime.NumGoroutine() <= before+1 && openBPF() == 0, nil
		})
		if err != nil {
			fmt.Println(err, openBPF(), "descriptors")
			_ = pprof.Lookup("goroutine").WriteTo(os.Stdout, 1)
			code = 1
		}
	}
	os.Exit(code)
}

// openBPF counts descriptors of programs, maps and links.
func openBPF() (n int) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.Contains(to, "bpf") {
			n++
		}
	}
	return n
}
