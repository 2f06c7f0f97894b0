package apps

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/world"
)

// fixture is the one world that all stories share. Stories run one after the
// other: counters then change for one reason only.
type fixture struct {
	w    *world.T
	node *world.Node
	// client and front are enrolled; outsider is not. Every server runs in server.
	client, front, outsider, server *world.Pod
	// dir is readable by every user: servers drop their privileges.
	dir      string
	services map[string]world.Service
	// started holds the servers that run, by name.
	started map[string]bool
}

// program is one row of the table: who is tried, and with what.
type program struct {
	name  string
	needs []string // binaries; what is missing skips the row
	story func(*testing.T, *fixture)
}

func programs() []program {
	return []program{
		{"curl", []string{"curl", "nginx", "node"}, curlStories},
		{"curl/upgrade", []string{"curl", "node"}, curlUpgrade},
		{"curl/stream", []string{"curl", "node"}, curlStream},
		{"curl/odd servers", []string{"curl", "python3"}, curlOddServers},
		{"curl/tls and http2", []string{"curl", "nginx", "openssl"}, curlTLS},
		{"wget and apt", []string{"wget", "apt-helper", "curl", "nginx", "openssl"}, downloads},
		{"forward proxy", []string{"tinyproxy", "curl", "nginx", "openssl"}, forwardProxy},
		{"h2load", []string{"h2load", "nginx", "openssl"}, h2load},
		{"wrk", []string{"wrk", "nginx", "node"}, wrk},
		{"nginx as a client", []string{"nginx", "node", "curl"}, nginxClient},
		{"redis", []string{"redis-server", "redis-cli", "redis-benchmark"}, redisStories},
		{"postgresql", []string{"psql", "pgbench", "initdb"}, postgresStories},
		{"greeter", []string{"python3"}, greeter},
		{"smtp", []string{"python3", "curl"}, smtp},
		{"ftp", []string{"vsftpd", "curl"}, ftp},
		{"ssh and git", []string{"sshd", "ssh", "git", "ssh-keygen"}, sshAndGit},
		{"go", []string{"nginx", "node"}, goStories},
		{"grpc", nil, grpcStories},
		{"python", []string{"python3", "node"}, pythonStories},
		{"node", []string{"node", "nginx", "openssl"}, nodeStories},
		{"sockets", []string{"python3"}, socketStories},
		{"untouched", []string{"python3", "curl", "node"}, untouched},
	}
}

func TestPrograms(t *testing.T) {
	f := newFixture(t)
	for _, p := range programs() {
		t.Run(p.name, func(t *testing.T) {
			for _, binary := range p.needs {
				find(t, binary)
			}
			p.story(t, f)
		})
	}
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	w := world.ForTest(t, world.Config{KubeProxy: true})
	f := &fixture{w: w, services: map[string]world.Service{}, started: map[string]bool{}, dir: openDir(t)}
	f.client, f.front, f.server = w.Pod("client", world.PodConfig{}), w.Pod("front", world.PodConfig{}), w.Pod("server", world.PodConfig{})
	f.outsider = w.Pod("outsider", world.PodConfig{Labels: map[string]string{"culvert.dev/mesh": "disabled"}})
	for _, s := range services() {
		s.Endpoints = world.Ready(f.server)
		f.services[s.Name] = w.Publish(s)
	}
	f.node = w.Node(world.NodeConfig{})
	return f
}

// openDir is a directory of the test's own that every user may read: t.TempDir
// is for the test's user alone.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "culvert-apps-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// debian names the package of each program.
func debian() map[string]string {
	return map[string]string{
		"curl": "curl", "nginx": "nginx", "wrk": "wrk", "node": "nodejs", "python3": "python3", "openssl": "openssl",
		"redis-server": "redis-server", "redis-cli": "redis-tools", "redis-benchmark": "redis-tools",
		"psql": "postgresql-client", "pgbench": "postgresql", "initdb": "postgresql", "h2load": "nghttp2-client",
		"vsftpd": "vsftpd", "sshd": "openssh-server", "ssh": "openssh-client", "ssh-keygen": "openssh-client", "git": "git",
		"wget": "wget", "apt-helper": "apt", "tinyproxy": "tinyproxy-bin",
	}
}

// find returns a program's path. A missing one skips the test, by its Debian
// package; with CI=true it fails.
func find(t *testing.T, binary string) string {
	t.Helper()
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/usr/lib/apt", "/usr/lib/postgresql/*/bin"} {
		if found, _ := filepath.Glob(filepath.Join(dir, binary)); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	if path, err := exec.LookPath(binary); err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: apt-get install %s", binary, debian()[binary])
	}
	t.Skipf("%s is missing: apt-get install %s", binary, debian()[binary])
	return ""
}

// patience bounds every single step of a story.
const patience = 30 * time.Second

// run runs a program in a pod and returns what it wrote; failure ends the test.
func (f *fixture) run(t *testing.T, in *world.Pod, args ...string) string {
	t.Helper()
	out, err := f.try(t, in, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// try runs a program in a pod whose failure is no surprise.
func (f *fixture) try(t *testing.T, in *world.Pod, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return in.Run(ctx, append([]string{find(t, args[0])}, args[1:]...)...)
}

// write puts a file into the fixture's directory and returns its path.
func (f *fixture) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// script is the path of a program of testdata.
func script(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// mustContain fails the test when the output lacks any of the texts.
func mustContain(t *testing.T, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("the output lacks %q:\n%.2000s", text, out)
		}
	}
}
