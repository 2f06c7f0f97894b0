package main_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Every command that a kept demo prints works when it is pasted.
func TestKeep(t *testing.T) {
	r := start(t, "-keep")
	r.until("In a second terminal")
	r.noteCgroup()
	r.until("kill -9 ")
	_, page, _ := strings.Cut(r.text.String(), "In a second terminal")
	var commands []string
	for _, line := range strings.Split(page, "\n")[1:] {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			commands = append(commands, line)
		}
	}
	// What each command's output must hold, by a part of the command; the
	// first that fits counts.
	for _, want := range []struct{ command, output string }{
		{"cd ", ""},
		{"curl -si http", "X-Served-By: api-v"},
		{"x-version: v2", "X-Served-By: api-v2"},
		{"/raw;", "503"},
		{"/any; done; echo", "200 200 200 200 200 200"},
		{"sed -i", ""},
		{"curl -si http", "X-Served-By: api-v2"},
		{"Mistake", "oops.yaml"},
		{"rm ", ""},
		{"/dev/tcp/", "serves 10.10."},
		{"-X PUT", ""},
		{"seq 30", ""},
		{"/debug/breakers", `"state": "open"`},
		{"grep ^proxy_requests_total", `source="default/client-1"`},
		{"/debug/", "breakers"},
		{" bash", ""},
		{"kill -9", "X-Served-By: api-v"},
	} {
		if len(commands) == 0 {
			t.Fatalf("no command for %q", want.command)
		}
		command := commands[0]
		commands = commands[1:]
		if !strings.Contains(command, want.command) {
			t.Fatalf("command %q, want one with %q", command, want.command)
		}
		out, err := r.paste(command)
		mistake := want.command == "Mistake" // culvert check says so by its status
		if err != nil && !mistake || !strings.Contains(out, want.output) {
			t.Errorf("%s\n%v, want %q in\n%s", command, err, want.output, out)
		}
	}
	r.until("Press Enter")
	if _, err := r.stdin.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	r.until("serves again")
	if out, err := r.paste(built.demo + " in node curl -sf localhost:15000/readyz"); err != nil {
		t.Errorf("the node that was started again is not ready: %v\n%s", err, out)
	}
	r.signal(unix.SIGINT)
	if status := r.wait(); !status.Exited() || status.ExitStatus() != 0 {
		t.Errorf("exit %v\n%s", status, r.text.String())
	}
	r.nothingLeft(0)
}

// paste runs a command as a person at a second terminal does.
func (r *run) paste(command string) (string, error) {
	cmd := exec.Command("bash", "-c", command)
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}
