package apps

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/test/world"
)

// redisStories: a declared port is balanced by the kernel, an undeclared one goes
// through the proxy as TCP.
func redisStories(t *testing.T, f *fixture) {
	f.redis(t)
	large := strings.Repeat("large value ", 1<<19) // 6 MiB: many times what sockets buffer
	path := f.write(t, "large", large)
	for _, s := range []service{{"redis", false}, {"redis", true}, {"redis-any", false}, {"redis-any", true}} {
		addr := f.addr(t, s)
		cli := func(args ...string) []string {
			return append([]string{"redis-cli", "-h", addr.Addr().String(), "-p", strconv.Itoa(int(addr.Port())), "--no-auth-warning"}, args...)
		}
		t.Run(s.String(), func(t *testing.T) {
			f.went(t, f.client, s, through(s, 3), func() {
				mustContain(t, f.run(t, f.client, cli("SET", "key", "value")...), "OK")
				mustContain(t, f.run(t, f.client, cli("GET", "key")...), "value")
				mustContain(t, f.run(t, f.client, cli("-r", "20", "INCR", s.String())...), "20")
			})
			f.went(t, f.client, s, through(s, 2), func() {
				mustContain(t, f.runStdin(t, f.client, path, cli("-x", "SET", "large")...), "OK")
				if got := strings.TrimSuffix(f.runWhole(t, f.client, cli("GET", "large")...), "\n"); got != large {
					t.Errorf("a value of %d bytes came back as %d other bytes", len(large), len(got))
				}
			})
			f.redisMass(t, s, cli)
			f.redisPubSub(t, s, cli)
			// One connection more asks for the configuration.
			f.went(t, f.client, s, through(s, 9), func() {
				out := f.run(t, f.client, "redis-benchmark", "-h", addr.Addr().String(), "-p", strconv.Itoa(int(addr.Port())),
					"-c", "8", "-n", "8000", "-P", "16", "-t", "set", "-q")
				mustContain(t, out, "requests per second")
			})
		})
	}
}

// redisMass sends 20,000 commands without waiting for an answer.
func (f *fixture) redisMass(t *testing.T, s service, cli func(...string) []string) {
	t.Helper()
	var b strings.Builder
	for i := range 20000 {
		key := fmt.Sprintf("key%05d", i)
		fmt.Fprintf(&b, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$5\r\nvalue\r\n", len(key), key)
	}
	path := f.write(t, "mass", b.String())
	f.went(t, f.client, s, through(s, 1), func() {
		mustContain(t, f.runStdin(t, f.client, path, cli("--pipe")...), "errors: 0, replies: 20000")
	})
}

// redisPubSub: the server speaks whenever it likes.
func (f *fixture) redisPubSub(t *testing.T, s service, cli func(...string) []string) {
	t.Helper()
	f.went(t, f.client, s, through(s, 4), func() {
		args := cli("SUBSCRIBE", "news")
		subscriber := f.w.Start(f.client.Place, append([]string{find(t, args[0])}, args[1:]...)...)
		f.waitOutput(t, subscriber, "subscribe\nnews\n1")
		for _, text := range []string{"first", "second"} {
			mustContain(t, f.run(t, f.client, cli("PUBLISH", "news", text)...), "1")
			f.waitOutput(t, subscriber, text)
		}
		subscriber.Kill()
		mustContain(t, f.run(t, f.client, cli("BLPOP", "nothing", "0.2")...), "\n")
	})
}

func (f *fixture) waitOutput(t *testing.T, p *world.Process, text string) {
	t.Helper()
	if err := p.WaitOutput(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

// runStdin is run with a file as standard input.
func (f *fixture) runStdin(t *testing.T, in *world.Pod, path string, args ...string) string {
	t.Helper()
	return f.run(t, in, append([]string{"sh", "-c", `exec "$0" "$@" <` + path, find(t, args[0])}, args[1:]...)...)
}

// runWhole is run for an output that is larger than what a process keeps.
func (f *fixture) runWhole(t *testing.T, in *world.Pod, args ...string) string {
	t.Helper()
	out := filepath.Join(f.dir, "out")
	f.run(t, in, append([]string{"sh", "-c", `exec "$0" "$@" >` + out, find(t, args[0])}, args[1:]...)...)
	return f.read(t, "out")
}
