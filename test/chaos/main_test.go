package chaos

import (
	"flag"
	"os"
	"testing"
	"time"
)

// soakUntil is when a churn ends: -soak, or what is usual.
func soakUntil(usual time.Duration) time.Time {
	if d, ok := flag.Lookup("soak").Value.(flag.Getter).Get().(time.Duration); ok && d > 0 {
		usual = d
	}
	return time.Now().Add(usual)
}

func TestMain(m *testing.M) {
	flag.Duration("soak", 0, "how long each churn goes on; 0: a few seconds")
	flag.String("binary", "", "the culvert `program` to break, such as one built with -race; \"\": this module's")
	flag.Parse()
	os.Exit(m.Run())
}
