package capture

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUninstall leaves nothing: no pin, link, route, directory or mount.
func TestUninstall(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	w.enrol(c, "a")
	redirect(t, c, proxied(StanceClosed, vip4, vip6)...)
	if len(w.routes()) == 0 {
		t.Fatal("no route to remove")
	}
	must(t, Uninstall(w.config()))
	if _, err := os.Stat(w.bpffs); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
	if routes := w.routes(); len(routes) != 0 {
		t.Errorf("routes are left: %v", routes)
	}
	must(t, c.Close())
	if n := w.attached(); n != 0 {
		t.Errorf("%d programs are left", n)
	}
	must(t, Uninstall(w.config()))
}

// TestUninstallWhileRunning says so, and the process goes on without effect.
func TestUninstallWhileRunning(t *testing.T) {
	w := newWorld(t)
	w.own("10.96.0.10/32")
	w.serve(vip4, "4")
	c := w.open()
	w.enrol(c, "a")
	alive(c)
	redirect(t, c, proxied(StanceClosed, vip4)...)
	var lines bytes.Buffer
	cfg := w.config()
	cfg.Log = slog.New(slog.NewTextHandler(&lines, nil))
	must(t, Uninstall(cfg))
	if strings.Count(lines.String(), "a node is running") != 1 {
		t.Errorf("it said %q", lines.String())
	}
	redirect(t, c, proxied(StanceClosed, vip4)...)
	if d, err := w.dial("tcp", vip4); d.greeting != "direct 4" {
		t.Errorf("reached %q, %v", d.greeting, err)
	}
	must(t, c.Leave(7))
}

// TestUninstallBesideOthers: a bpffs in which somebody else has pins stays.
func TestUninstallBesideOthers(t *testing.T) {
	w := newWorld(t)
	c := w.open()
	other := filepath.Join(w.bpffs, "somebody")
	must(t, c.objects.Reasons.Pin(other))
	must(t, Uninstall(w.config()))
	if pins := w.pins(); len(pins) != 1 || pins[0] != "somebody" {
		t.Errorf("pins are %v, want somebody's", pins)
	}
	must(t, os.Remove(other))
	must(t, Uninstall(w.config()))
	if _, err := os.Stat(w.bpffs); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
}
