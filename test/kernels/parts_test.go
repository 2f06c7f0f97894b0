package kernels

import (
	"bytes"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

// TestArchive reads an archive with the program that wrote the format, where
// it is installed, and looks at the padding where it is not.
func TestArchive(t *testing.T) {
	var out bytes.Buffer
	a := newArchive(&out)
	a.file("bin/one", 0o755, []byte("12345"))
	a.file("bin/deep/er", 0o644, nil)
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	if out.Len()%4 != 0 || bytes.Count(out.Bytes(), []byte("070701")) != 5 {
		t.Errorf("%d bytes: %q", out.Len(), out.Bytes())
	}
	if _, err := exec.LookPath("cpio"); err != nil {
		return
	}
	cmd := exec.Command("cpio", "-t", "--quiet")
	cmd.Stdin = &out
	list, err := cmd.Output()
	if want := "bin\nbin/one\nbin/deep\nbin/deep/er\n"; err != nil || string(list) != want {
		t.Errorf("cpio lists %q, %v; want %q", list, err, want)
	}
}

func TestArchiveKeepsItsFirstError(t *testing.T) {
	a := newArchive(&bytes.Buffer{})
	a.copy("x", 0o644, "/nonexistent")
	if err := a.close(); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("%v", err)
	}
}

func TestNewest(t *testing.T) {
	names := strings.Fields(`linux-image-6.1.0-9-cloud-amd64 linux-image-6.1.0-56-cloud-amd64 linux-image-6.1.0-57-amd64
		linux-image-6.1.0-58-cloud-amd64-dbg linux-image-6.1.0-58-cloud-amd64-unsigned
		linux-image-6.12.9+deb12-cloud-amd64 linux-image-6.12.117+deb12-cloud-amd64 linux-image-6.12.117+deb12.1-cloud-amd64`)
	for series, want := range map[string]string{
		"6.1": "linux-image-6.1.0-56-cloud-amd64", "6.12": "linux-image-6.12.117+deb12.1-cloud-amd64", "6.2": "",
	} {
		if got := newest(names, series); got != want {
			t.Errorf("newest of %s is %q, want %q", series, got, want)
		}
	}
}

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name, port string
		want       outcome
	}{
		{"nothing", "", outcome{}},
		{"a whole life", "\r\nguest: kernel 6.1\r\n\r\nguest: begin a\r\n=== RUN   T\r\n--- PASS: T (0.10s)\r\nPASS\r\n\r\nguest: end a 0 0.2s\r\n\r\nguest: all have run\r\n",
			outcome{release: "6.1", ended: true, programs: []programOutcome{
				{name: "a", code: "0", took: "0.2s", tests: []testOutcome{{"T", "PASS"}}, output: "=== RUN   T\n--- PASS: T (0.10s)\nPASS\n\n"}}}},
		{"cut off", "guest: begin a\n--- FAIL: T (0.10s)\n    --- FAIL: T/sub (0.10s)\n---\nhal",
			outcome{programs: []programOutcome{
				{name: "a", tests: []testOutcome{{"T", "FAIL"}}, output: "--- FAIL: T (0.10s)\n    --- FAIL: T/sub (0.10s)\n---\nhal\n"}}}},
		{"broken", "guest: broken: mount /proc: no\n", outcome{broken: "mount /proc: no"}},
	} {
		if got, err := read(strings.NewReader(tt.port)); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
	}
}
