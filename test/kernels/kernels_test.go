package kernels

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// unavailable skips a test for a reason that is not Culvert's; in CI everything
// must be there.
func unavailable(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%v, and CI must have it", err)
	}
	t.Skip(err)
}

// TestKernels boots each kernel and runs the capture's tests in it. It needs
// no root, only qemu and apt. The guests run side by side: each keeps one core
// busy, for less than a minute.
func TestKernels(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines: not with -short")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		unavailable(t, errors.New("qemu-system-x86_64 is not installed (Debian: qemu-system-x86)"))
	}
	cache, err := filepath.Abs("../../bin/kernels")
	if err != nil {
		t.Fatal(err)
	}
	built := t.TempDir()
	buildOnce := sync.OnceValue(func() error { return build(t.Context(), built) })
	for _, series := range []string{"6.1", "6.12"} {
		t.Run(series, func(t *testing.T) {
			k, err := fetch(t.Context(), cache, series)
			if errors.Is(err, errUnavailable) {
				unavailable(t, err)
			}
			if err = errors.Join(err, buildOnce()); err != nil {
				t.Fatal(err)
			}
			t.Parallel()
			testKernel(t, built, k)
		})
	}
}

func testKernel(t *testing.T, built string, k kernel) {
	dir := t.TempDir()
	image, console := filepath.Join(dir, "initramfs"), filepath.Join(dir, "console")
	if err := makeImage(image, built, k); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if end, ok := t.Deadline(); ok {
		// Sooner than go test's own end, which would tell nothing.
		bounded, cancel := context.WithDeadline(ctx, end.Add(-10*time.Second))
		defer cancel()
		ctx = bounded
	}
	start := time.Now()
	o, err := boot(ctx, k, image, console)
	t.Logf("Linux %s ran for %.0f s", o.release, time.Since(start).Seconds())
	for _, p := range o.programs {
		t.Run(p.name, func(t *testing.T) { p.report(t) })
	}
	switch {
	case err != nil:
		t.Error(err)
	case o.broken != "":
		t.Errorf("the guest's init: %s", o.broken)
	case !o.ended || o.release != k.release:
		t.Errorf("kernel %q ended before its time", o.release)
	}
	if t.Failed() {
		messages, _ := os.ReadFile(console)
		t.Logf("the kernel's messages:\n%s", messages)
	}
}

// report turns the guest's tests into tests of this one.
func (p *programOutcome) report(t *testing.T) {
	for _, test := range p.tests {
		t.Run(test.name, func(t *testing.T) {
			switch test.verdict {
			case "PASS":
			case "SKIP":
				t.Skip("skipped in the guest")
			default:
				t.Errorf("%s in the guest", test.verdict)
			}
		})
	}
	t.Logf("exit code %s after %s of the guest's time", p.code, p.took)
	if p.code != "0" || len(p.tests) == 0 {
		t.Errorf("output:\n%s", strings.TrimSpace(p.output))
	}
}
