package apps

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/test/world"
)

// postgresStories: in PostgreSQL's protocol the client speaks first, in bytes that
// are no text; libpq's first words ask for TLS, and it waits for one byte.
func postgresStories(t *testing.T, f *fixture) {
	f.postgres(t)
	for i, s := range []service{{"postgres", false}, {"postgres", true}, {"postgres-any", false}, {"postgres-any", true}} {
		addr := f.addr(t, s)
		uri := fmt.Sprintf("postgresql://postgres@%s/postgres", addr)
		psql := func(sql ...string) []string {
			args := []string{"psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", uri}
			for _, text := range sql {
				args = append(args, "-c", text)
			}
			return args
		}
		t.Run(s.String(), func(t *testing.T) {
			f.went(t, f.client, s, through(s, 1), func() {
				mustContain(t, f.run(t, f.client, psql("select 6*7", "select host(inet_client_addr())")...), "42", f.source(f.client, s))
			})
			f.went(t, f.client, s, through(s, 1), func() {
				table := fmt.Sprintf("copied%d", i)
				rows := f.write(t, "rows", strings.Repeat(strings.Repeat("x", 99)+"\n", 20000))
				out := f.run(t, f.client, psql("create table "+table+" (line text)", `\copy `+table+" from '"+rows+"'",
					"select count(*), sum(length(line)) from "+table, "select md5(string_agg(line, '')) from "+table,
					"listen news", "notify news, 'heard'")...)
				mustContain(t, out, "20000|1980000", "heard")
			})
			// pgbench asks for the scale over a connection of its own.
			f.went(t, f.client, s, through(s, 5), func() {
				script := f.write(t, "bench.sql", "\\set n random(1, 1000)\nselect :n * 2;\n")
				out := f.run(t, f.client, "pgbench", "-n", "-c", "4", "-j", "1", "-t", "200", "-M", "prepared", "-f", script, uri)
				mustContain(t, out, "number of transactions actually processed: 800/800")
			})
			f.psqlCancel(t, s, through(s, 2), psql("select pg_sleep(60)"))
		})
	}
}

// psqlCancel: Ctrl-C makes libpq open a second connection to the server's address,
// while the first is silent.
func (f *fixture) psqlCancel(t *testing.T, s service, want way, args []string) {
	t.Helper()
	f.went(t, f.client, s, want, func() {
		p := f.w.Start(f.client.Place, append([]string{find(t, args[0])}, args[1:]...)...)
		f.w.Wait("the query to run", func() (bool, error) {
			out, err := f.try(t, f.server, "psql", "-X", "-A", "-t", fmt.Sprintf("postgresql://postgres@%s/postgres", f.server.Addr4(postgresPort)),
				"-c", "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'")
			return strings.TrimSpace(out) == "1", err
		})
		if err := p.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		f.waitEnd(t, p)
		mustContain(t, p.Output(), "canceling statement due to user request")
	})
}

// waitEnd waits for a process to end, however it does.
func (f *fixture) waitEnd(t *testing.T, p *world.Process) {
	t.Helper()
	f.w.Wait(p.Args[0]+" to end", func() (bool, error) { return p.Ended(), nil })
}
