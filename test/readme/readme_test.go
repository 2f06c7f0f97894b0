package readme_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/controlplane"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The example of a policy directory has no problem.
func TestPolicyExample(t *testing.T) {
	_, rest, found := strings.Cut(readme(t), "<!-- example: test/readme checks it -->\n```yaml\n")
	yaml, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !closed {
		t.Fatal("the README has no example")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "web.yaml"), []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	problems, err := controlplane.Check(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// Every verb that the README names is in the Makefile, and every path exists.
func TestVerbsAndPathsExist(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	text := readme(t)
	for _, m := range regexp.MustCompile("`make ([a-z-]+)").FindAllStringSubmatch(text, -1) {
		if !strings.Contains(string(makefile), fmt.Sprintf("\n%s:", m[1])) {
			t.Errorf("the README names make %s, which is not in the Makefile", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`((?:bpf|node|proxy|controlplane|test)/[a-z0-9/._]*)`").FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
			t.Errorf("the README names %s, which does not exist", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([a-z][a-z/A-Z.]*)\)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
			t.Errorf("the README links to %s, which does not exist", m[1])
		}
	}
}
