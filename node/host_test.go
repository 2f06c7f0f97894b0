package node

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/culvert-mesh/culvert/node/capture"
)

func TestHostFaultsSayWhatToDo(t *testing.T) {
	if os.Geteuid() != 0 {
		if err := checkHost(Config{}); err == nil || !strings.Contains(err.Error(), "not root") {
			t.Fatalf("without root: %v", err)
		}
		t.Skip("the rest needs root")
	}
	cases := []struct {
		name string
		err  error
		want string
	}{
		{"all is well", checkHost(Config{}), ""},
		{"no such cgroup", checkHost(Config{CgroupRoot: "/nonexistent"}), "leave the flag out to have it found"},
		{"not a cgroup", checkHost(Config{CgroupRoot: "/tmp"}), "not on a cgroup2 file system"},
		{"other layout", explainCapture(fmt.Errorf("load: %w", capture.ErrLayout)), "culvert node --uninstall"},
		{"no capability", explainCapture(fmt.Errorf("load: %w", unix.EPERM)), "CAP_BPF"},
		{"anything else", explainCapture(errors.New("odd")), "open capture: odd"},
	}
	for _, c := range cases {
		switch {
		case c.want == "" && c.err != nil:
			t.Errorf("%s: %v", c.name, c.err)
		case c.want != "" && (c.err == nil || !strings.Contains(c.err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, c.err, c.want)
		case c.err != nil && strings.Contains(c.err.Error(), "\n"):
			t.Errorf("%s: more than one line: %v", c.name, c.err)
		}
	}
}

func TestPortInUseIsSaid(t *testing.T) {
	first, err := listen(Config{Admin: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer first.close()
	_, err = listen(Config{Admin: first.admin.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), "is another node running?") {
		t.Fatalf("%v", err)
	}
}
