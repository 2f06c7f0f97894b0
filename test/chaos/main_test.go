package chaos

import (
	"flag"
	"os"
	"testing"
	"time"
)

// soak is a flag: how long each churn goes on.
func soakUntil(usual time.Duration) time.Time {
	if d, ok := flag.Lookup("soak").Value.(flag.Getter).Get().(time.Duration); ok && d > 0 {
		usual = d
	}
	return time.Now().Add(usual)
}

func TestMain(m *testing.M) {
	flag.Duration("soak", 0, "how long each churn goes on; 0: a few seconds")
	flag.Parse()
	os.Exit(m.Run())
}
