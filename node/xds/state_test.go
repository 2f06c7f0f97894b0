package xds

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// saved writes a state file of three resources and returns its path.
func saved(t *testing.T, dir string) string {
	t.Helper()
	var all []*resource
	for _, m := range list(pod("a"), edsCluster("a/b:80"), assign("a/b:80", "10.1.0.1")) {
		r, err := decode(kindFor(t, m), seed(m))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r, r) // twice: shared by two users
	}
	if err := saveState(dir, "n1", all); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, stateFile)
}

func TestStateComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there")
	if got, err := loadState(dir, "n1"); got != nil || err != nil {
		t.Fatalf("no file: %v, %v", got, err)
	}
	path := saved(t, dir)
	got, err := loadState(dir, "n1")
	if err != nil || len(got) != 3 || got[0].GetName() != "a/b:80" || got[2].GetName() != "a" {
		t.Fatalf("%v, %v", got, err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	saved(t, dir)
	if second, err := os.ReadFile(path); err != nil || !bytes.Equal(first, second) {
		t.Error("the same state is another file")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("the directory holds %v", left)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if err := RemoveState(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is there after RemoveState: %v", err)
	}
}

func TestDamagedStateIsRefused(t *testing.T) {
	cases := []struct {
		name   string
		damage func(b []byte) []byte
		node   string
		want   string
	}{
		{"truncated", func(b []byte) []byte { return b[:len(b)-1] }, "n1", "damaged"},
		{"flipped", func(b []byte) []byte { b[len(b)-3] ^= 1; return b }, "n1", "damaged"},
		{"empty", func(b []byte) []byte { return nil }, "n1", "damaged"},
		{"other version", func(b []byte) []byte { return bytes.Replace(b, []byte("state 1"), []byte("state 2"), 1) }, "n1", "another version"},
		{"other node", func(b []byte) []byte { return b }, "n2", `is of node "n1", this is "n2"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := saved(t, dir)
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, c.damage(raw), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := loadState(dir, c.node)
			if got != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestStartsWithADamagedState(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, stateFile), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	inBubble(t, dir, func(t *testing.T, b *bed) {
		shop(b.stream())
		if got := b.services(); len(got) != 1 {
			t.Fatalf("services %q", got)
		}
	})
}
