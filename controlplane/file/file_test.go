package file

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/controlplane/model"
	"github.com/culvert-mesh/culvert/controlplane/objects"
)

func service(name string, port int) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {clusterIP: None, ports: [{port: %d}]}\n", name, port)
}

// state writes what is live as "a:80 b:81", and the problems, one line each.
func state(d *directory) (live, wrong string) {
	set, problems := d.objects()
	return describe(set), joinProblems(problems)
}

func describe(set *objects.Set) string {
	var out []string
	for _, s := range set.Services {
		out = append(out, fmt.Sprintf("%s:%d", s.Ref.Name.Name, s.Value.Spec.Ports[0].Port))
	}
	return strings.Join(out, " ")
}

func joinProblems(ps []model.Problem) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.String())
	}
	return strings.Join(out, "\n")
}

// TestLastGood tells one file's story by its successive contents.
func TestLastGood(t *testing.T) {
	broken := "---\nkind: [\n"
	faulty := strings.Replace(service("a", 80), "port:", "prt:", 1)
	deployment := "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n"
	misspelt := strings.Replace(service("a", 80), "Service", "Servce", 1)
	type step struct{ text, live string }
	cases := map[string][]step{
		"change and remove":              {{service("a", 80) + service("b", 81), "a:80 b:81"}, {service("a", 90), "a:90"}, {"", ""}},
		"faulty from the start":          {{faulty + service("b", 81), "b:81"}},
		"faulty keeps the last good":     {{service("a", 80), "a:80"}, {faulty + service("b", 81), "a:80 b:81"}, {service("a", 90), "a:90"}},
		"faulty, then removed":           {{service("a", 80), "a:80"}, {faulty, "a:80"}, {service("b", 81), "b:81"}},
		"no YAML keeps what is missing":  {{service("a", 80) + service("b", 81), "a:80 b:81"}, {service("a", 90) + broken, "a:90 b:81"}, {service("a", 90), "a:90"}},
		"no YAML twice":                  {{service("a", 80), "a:80"}, {broken, "a:80"}, {broken + broken, "a:80"}, {service("c", 1), "c:1"}},
		"a kind that is not ours":        {{service("a", 80) + deployment, "a:80"}, {deployment, ""}},
		"a kind with a slip of the pen":  {{service("a", 80), "a:80"}, {misspelt, "a:80"}, {misspelt + service("b", 81), "a:80 b:81"}, {service("b", 81), "b:81"}},
		"the same object twice":          {{service("a", 80) + service("a", 81), "a:80"}, {service("a", 81), "a:81"}},
		"comments are no documents":      {{"# nothing\n---\n" + service("a", 80) + "---\n# end\n", "a:80"}},
		"the end marker ends a document": {{strings.TrimPrefix(service("a", 80), "---\n") + "...\n" + service("b", 81), "a:80 b:81"}},
		"windows line ends":              {{strings.ReplaceAll(service("a", 80)+service("b", 81), "\n", "\r\n"), "a:80 b:81"}},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDirectory(t.TempDir())
			for i, s := range steps {
				replace(t, d.path, "x.yaml", s.text)
				if _, err := d.scan(time.Time{}); err != nil {
					t.Fatal(err)
				}
				if live, wrong := state(d); live != s.live {
					t.Errorf("step %d: live %q, want %q\n%s", i, live, s.live, wrong)
				}
			}
		})
	}
}

func replace(t *testing.T, dir, name, text string) {
	t.Helper()
	aside := filepath.Join(dir, ".aside")
	if err := os.WriteFile(aside, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestOrderOfFiles(t *testing.T) {
	d := newDirectory(t.TempDir())
	replace(t, d.path, "20.yaml", service("a", 20))
	replace(t, d.path, "10.yml", service("a", 10))
	replace(t, d.path, ".hidden.yaml", service("h", 1))
	replace(t, d.path, "30.yaml~", service("backup", 1))
	replace(t, d.path, "#30.yaml", service("lock", 1))
	replace(t, d.path, "README.md", "no policy")
	replace(t, d.path, "40.json", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"j"},"spec":{"clusterIP":"None","ports":[{"port":40}]}}`)
	if err := os.Mkdir(filepath.Join(d.path, "dir.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	scan(t, d)
	live, wrong := state(d)
	if want := "20.yaml:2: Service default/a: metadata.name: ignored: it stands at 10.yml:2 already (document 1)"; live != "a:10 j:40" || wrong != want {
		t.Errorf("live %q, problems %q", live, wrong)
	}
	// The first goes: the second is what counts now.
	if err := os.Remove(filepath.Join(d.path, "10.yml")); err != nil {
		t.Fatal(err)
	}
	scan(t, d)
	if live, wrong := state(d); live != "a:20 j:40" || wrong != "" {
		t.Errorf("live %q, problems %q", live, wrong)
	}
}

func scan(t *testing.T, d *directory) bool {
	t.Helper()
	changed, err := d.scan(time.Unix(1000, 0))
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func TestUnchangedIsNoChange(t *testing.T) {
	d := newDirectory(t.TempDir())
	replace(t, d.path, "a.yaml", service("a", 80))
	if !scan(t, d) || scan(t, d) {
		t.Error("want a change at the first scan and none at the second")
	}
}

func TestUnreadableKeepsWhatWas(t *testing.T) {
	d := newDirectory(t.TempDir())
	replace(t, d.path, "a.yaml", service("a", 80))
	scan(t, d)
	big := filepath.Join(d.path, "a.yaml")
	if err := os.Truncate(big, maxFile+1); err != nil {
		t.Fatal(err)
	}
	scan(t, d)
	if live, wrong := state(d); live != "a:80" || !strings.HasPrefix(wrong, "a.yaml: larger than") {
		t.Errorf("live %q, problems %q", live, wrong)
	}
	if scan(t, d) {
		t.Error("the same failure is news twice")
	}
	// A dangling link is a file that cannot be read, not one that is gone.
	if err := os.Remove(big); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", big); err != nil {
		t.Fatal(err)
	}
	scan(t, d)
	if live, wrong := state(d); live != "a:80" || !strings.Contains(wrong, "no such file") {
		t.Errorf("live %q, problems %q", live, wrong)
	}
}

func TestFileThatIsBeingWritten(t *testing.T) {
	d := newDirectory(t.TempDir())
	replace(t, d.path, "a.yaml", service("a", 80)+service("b", 81))
	scan(t, d)
	f, err := os.OpenFile(filepath.Join(d.path, "a.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(service("a", 90)); err != nil {
		t.Fatal(err)
	}
	if !openForWritingIsTold(t, d.path) {
		t.Skip("this file system grants no leases")
	}
	if scan(t, d) || !d.writing() {
		t.Error("a file that is open for writing was read")
	}
	if live, _ := state(d); live != "a:80 b:81" {
		t.Errorf("half a file is live: %q", live)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if !scan(t, d) || d.writing() {
		t.Error("a file that was closed was not read")
	}
	if live, _ := state(d); live != "a:90" {
		t.Errorf("live %q", live)
	}
}

func openForWritingIsTold(t *testing.T, dir string) bool {
	r, err := os.Open(filepath.Join(dir, "a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return openForWriting(r)
}

func TestFileThatStaysOpenIsReadInTheEnd(t *testing.T) {
	d := newDirectory(t.TempDir())
	f, err := os.Create(filepath.Join(d.path, "a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(service("a", 80)); err != nil {
		t.Fatal(err)
	}
	begun := time.Unix(1000, 0)
	for _, at := range []time.Duration{0, holdOff / 2, holdOff} {
		if _, err := d.scan(begun.Add(at)); err != nil {
			t.Fatal(err)
		}
	}
	if live, _ := state(d); live != "a:80" {
		t.Errorf("live %q", live)
	}
}

// TestRun follows a running source through the ways in which directories change.
func TestRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policy")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	states, ended := make(chan string, 100), make(chan error, 1)
	source := New(dir, slog.New(slog.DiscardHandler))
	source.poll = 20 * time.Millisecond
	go func() {
		ended <- source.Run(ctx, func(set *objects.Set, ps []model.Problem) {
			if set == nil {
				states <- "nothing known"
				return
			}
			states <- strings.TrimSpace(describe(set) + " " + joinProblems(ps))
		})
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	await := func(what string, ok func(string) bool) {
		t.Helper()
		for {
			select {
			case s := <-states:
				if ok(s) {
					return
				}
			case <-ctx.Done():
				t.Fatalf("%s: did not come", what)
			}
		}
	}
	is := func(want string) func(string) bool { return func(s string) bool { return s == want } }

	await("a directory that is not there", is("nothing known"))
	version := func(name string, port int) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		replace(t, filepath.Join(dir, name), "x.yaml", service("a", port))
	}
	// As the kubelet mounts a ConfigMap: x.yaml > ..data/x.yaml, and ..data > a version.
	version("..1", 1)
	link(t, "..1", filepath.Join(dir, "..data"))
	link(t, "..data/x.yaml", filepath.Join(dir, "x.yaml"))
	await("a ConfigMap", is("a:1"))
	version("..2", 2)
	link(t, "..2", filepath.Join(dir, "..data"))
	await("a ConfigMap's update", is("a:2"))

	replace(t, dir, "y.yaml", service("b", 3))
	await("a new file", is("a:2 b:3"))
	f, err := os.OpenFile(filepath.Join(dir, "y.yaml"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range slices.Collect(strings.Lines(service("c", 4))) {
		if _, err := f.WriteString(part); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	await("a file that was added to", is("a:2 b:3 c:4"))

	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	await("a directory that went away keeps what is live", func(s string) bool {
		return strings.HasPrefix(s, "a:2 b:3 c:4") && strings.Contains(s, "no such file")
	})
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	await("another directory in its place", is(""))
	replace(t, dir, "z.yaml", service("z", 5))
	await("a file in the other directory", is("z:5"))
}

// link replaces a symbolic link in one step.
func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at+".tmp"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(at+".tmp", at); err != nil {
		t.Fatal(err)
	}
}

// TestEffect: what is broken says what becomes of its object.
func TestEffect(t *testing.T) {
	faulty := strings.Replace(service("a", 80), "port:", "prt:", 1)
	for _, c := range []struct{ name, before, now, want string }{
		{"after a good one", service("a", 80), faulty, "the object's last good version stays until this process ends"},
		{"at the start", "", faulty, "not live: this process has seen no good version of it"},
		{"new in a file that was fine", service("b", 80), service("b", 80) + faulty, "not live; nothing goes away from this file meanwhile"},
	} {
		d := newDirectory(t.TempDir())
		for _, text := range []string{c.before, c.now} {
			if text == "" {
				continue
			}
			replace(t, d.path, "x.yaml", text)
			if _, err := d.scan(time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
		_, problems := d.objects()
		if len(problems) != 1 || problems[0].Effect != c.want || !strings.HasSuffix(problems[0].Long(), "; "+c.want) {
			t.Errorf("%s: %+v, want the effect %q", c.name, problems, c.want)
		}
	}
}

// TestNobodyTakesOver: an object stays with the file that it was taken from, though
// the name of another comes first.
func TestNobodyTakesOver(t *testing.T) {
	d := newDirectory(t.TempDir())
	replace(t, d.path, "20.yaml", service("a", 20)+service("a", 21))
	scan(t, d)
	if live, _ := state(d); live != "a:20" {
		t.Fatalf("live %q", live)
	}
	replace(t, d.path, "10.yaml", service("a", 10)+service("b", 1))
	scan(t, d)
	live, wrong := state(d)
	if want := "10.yaml:2: Service default/a: metadata.name: ignored: it stands at 20.yaml:2 already (document 1)"; live != "a:20 b:1" || !strings.Contains(wrong, want) {
		t.Fatalf("live %q, problems %q", live, wrong)
	}
	if err := os.Remove(filepath.Join(d.path, "20.yaml")); err != nil {
		t.Fatal(err)
	}
	scan(t, d)
	if live, wrong := state(d); live != "a:10 b:1" || wrong != "" {
		t.Fatalf("after the owner went: live %q, problems %q", live, wrong)
	}
}
