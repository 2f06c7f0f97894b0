package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// culvert runs a command line as main does.
func culvert(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, streams{out: &stdout, err: &stderr})
	return code, stdout.String(), stderr.String()
}

func TestCommandLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		args     string
		code     int
		out, err string
	}{
		{"", 2, "", "Usage:"},
		{"help", 0, "culvert controlplane", ""},
		{"fly", 2, "", `no command "fly"`},
		{"version", 0, "culvert ", ""},
		{"version now", 2, "", `1 arguments, want 0`},
		{"node -h", 0, "-drain-timeout", ""},
		{"node", 2, "", "one of --policy and --xds is needed"},
		{"node --policy . --xds x:1", 2, "", "exclude each other"},
		{"node --policy . --loops 129", 2, "", "--loops is 129, not between 1 and 128"},
		{"node --policy . --drain-timeout -1s", 2, "", "less than 0"},
		{"node --policy . --log-level loud", 2, "", "loud"},
		{"node --policy /nonexistent", 1, "", "--policy /nonexistent: stat /nonexistent: no such file or directory"},
		{"node --policy " + file, 1, "", "not a directory"},
		{"node --policy . surplus", 2, "", "surplus"},
		{"controlplane", 2, "", "--policy is needed"},
		{"controlplane --policy . --listen 256.0.0.1:1", 1, "", "--listen sets another address"},
		{"check", 2, "", "0 arguments, want 1"},
		{"check /nonexistent", 1, "", "/nonexistent"},
	}
	for _, c := range cases {
		t.Run(c.args, func(t *testing.T) {
			code, out, errs := culvert(t, strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.err) {
				t.Errorf("exit %d, output %q, errors %q; want %d, %q, %q", code, out, errs, c.code, c.out, c.err)
			}
			if c.err != "" && c.code == 1 && strings.Count(errs, "\n") != 1 {
				t.Errorf("an error has more than one line: %q", errs)
			}
		})
	}
}

func TestCheckPrintsALinePerProblem(t *testing.T) {
	dir := t.TempDir()
	if code, out, _ := culvert(t, "check", dir); code != 0 || out != "" {
		t.Fatalf("an empty directory: exit %d, %q", code, out)
	}
	text := "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: x}\nspec: {clusterIP: nonsense, ports: [{port: 80}]}\n---\nkind: [\n"
	if err := os.WriteFile(filepath.Join(dir, "bad.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, _ := culvert(t, "check", dir)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 1 || len(lines) != 2 || !strings.HasPrefix(lines[0], "bad.yaml:1: Service x/a: ") || !strings.HasPrefix(lines[1], "bad.yaml:6: not valid YAML: ") {
		t.Fatalf("exit %d, lines %q", code, lines)
	}
}

func TestControlPlaneEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	var stderr syncBuffer
	go func() {
		done <- run(ctx, []string{"controlplane", "--policy", t.TempDir(), "--listen", "127.0.0.1:0"}, streams{out: &stderr, err: &stderr})
	}()
	stderr.waitFor(t, "control plane started")
	cancel()
	if code := <-done; code != 0 {
		t.Fatalf("exit %d: %s", code, stderr.String())
	}
}
