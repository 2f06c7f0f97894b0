package table_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/table"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// good is a configuration without a fault, made anew for each case to spoil.
func good() table.Input {
	return table.Input{
		Version: "7",
		Services: []table.ServiceInput{
			{Name: "shop/web:80", Origins: []netip.AddrPort{addr("10.0.0.2:80"), addr("[fd00::2]:80")}, Protocol: table.HTTP1,
				Backend: "shop/web:80", Rules: []table.RuleInput{{
					Name:  "shop/r/0",
					Match: table.MatchInput{PathKind: table.PathPrefix, Path: "/api/"},
					Action: table.ActionInput{Forward: &table.ForwardInput{
						Backends: []table.WeightedBackend{{Backend: "shop/v1:80", Weight: 9}, {Backend: "shop/gone:80", Weight: 1}},
						Rewrite:  &table.RewriteInput{ReplacePrefix: true, Prefix: "/"},
					}},
				}}},
			{Name: "shop/db:5432", Origins: []netip.AddrPort{addr("10.0.0.1:5432")}, Protocol: table.Opaque, Backend: "shop/v1:80"},
		},
		Backends: []table.BackendInput{
			{Name: "shop/web:80", Endpoints: []table.EndpointInput{
				{Addr: addr("10.1.0.9:80"), Ready: true, Serving: true},
				{Addr: addr("10.1.0.1:80"), Serving: true},
				{Addr: addr("[::ffff:10.1.0.9]:80"), Weight: 3},
			}},
			{Name: "shop/v1:80"},
		},
	}
}

func rule(in *table.Input) *table.RuleInput              { return &in.Services[0].Rules[0] }
func match(in *table.Input) *table.MatchInput            { return &rule(in).Match }
func forward(in *table.Input) *table.ForwardInput        { return rule(in).Action.Forward }
func edit(in *table.Input, h ...table.HeaderValue)       { rule(in).Action.RequestHeaders.Set = h }
func header(in *table.Input, m table.ValueMatch)         { match(in).Headers = []table.ValueMatch{m} }
func direct(in *table.Input, d table.DirectInput)        { rule(in).Action = table.ActionInput{Direct: &d} }
func redir(in *table.Input, r table.RedirectInput)       { rule(in).Action = table.ActionInput{Redirect: &r} }
func retries(in *table.Input, r table.RetryInput)        { forward(in).Retry = &r }
func endpoint(in *table.Input, e ...table.EndpointInput) { in.Backends[0].Endpoints = e }

func TestFaults(t *testing.T) {
	service, backend := "service shop/web:80", "backend shop/web:80"
	for _, c := range []struct {
		spoil                   func(in *table.Input)
		resource, field, reason string
	}{
		{func(in *table.Input) { in.Services[1].Name = "shop/web:80" }, service, "name", "two services"},
		{func(in *table.Input) { in.Backends[1].Name = "shop/web:80" }, backend, "name", "two backends"},
		{func(in *table.Input) { in.Services[0].Name = "" }, "service ", "name", "empty"},
		{func(in *table.Input) { in.Backends[1].Name = "a\nb" }, "backend a\nb", "name", "control"},
		{func(in *table.Input) { in.Services[1].Origins[0] = addr("10.0.0.2:80") }, "service shop/db:5432", "origins", "belongs to service shop/web:80"},
		{func(in *table.Input) { in.Services[0].Origins[1] = addr("[::ffff:10.0.0.2]:80") }, service, "origins", "already"},
		{func(in *table.Input) { in.Services[0].Origins[0] = netip.AddrPort{} }, service, "origins", "not an address"},
		{func(in *table.Input) { in.Services[0].Origins[0] = addr("10.0.0.2:0") }, service, "origins", "no port"},
		{func(in *table.Input) { in.Services[0].Protocol = 9 }, service, "protocol", "9"},
		{func(in *table.Input) { in.Services[0].Stance = 9 }, service, "stance", "9"},
		{func(in *table.Input) { in.Services[1].Backend = "shop/none:1" }, "service shop/db:5432", "backend", "not among"},
		{func(in *table.Input) { in.Services[1].Backend = "" }, "service shop/db:5432", "backend", "not among"},
		{func(in *table.Input) { in.Services[0].Protocol = table.Opaque }, service, "rules", "no requests"},
		{func(in *table.Input) { rule(in).Name = "" }, service, "rules[0].name", "empty"},

		{func(in *table.Input) { match(in).Path = "api" }, service, "rules[0].match.path", "does not start"},
		{func(in *table.Input) { match(in).Path = "/a?b" }, service, "rules[0].match.path", "query"},
		{func(in *table.Input) { match(in).Path = "/a b" }, service, "rules[0].match.path", "space"},
		{func(in *table.Input) { match(in).Path = "/" + strings.Repeat("a", 5000) }, service, "rules[0].match.path", "5001 bytes"},
		{func(in *table.Input) { match(in).PathKind = 99 }, service, "rules[0].match.pathKind", "99"},
		{func(in *table.Input) { match(in).Method = "G ET" }, service, "rules[0].match.method", "not a method"},
		{func(in *table.Input) { header(in, table.ValueMatch{Name: ":path"}) }, service, "rules[0].match.headers[0].name", "not a header name"},
		{func(in *table.Input) { header(in, table.ValueMatch{Name: "x", Value: "a\r\nb"}) }, service, "rules[0].match.headers[0].value", "control"},
		{func(in *table.Input) { header(in, table.ValueMatch{Name: "x", Value: " a"}) }, service, "rules[0].match.headers[0].value", "blanks"},
		{func(in *table.Input) { header(in, table.ValueMatch{Name: "x", Kind: table.ValuePresent, Value: "a"}) }, service, "rules[0].match.headers[0].value", "presence"},
		{func(in *table.Input) { header(in, table.ValueMatch{Name: "x", Kind: 7}) }, service, "rules[0].match.headers[0].kind", "7"},
		{func(in *table.Input) {
			header(in, table.ValueMatch{Name: "x", Kind: table.ValueRegexp, Value: "a)|(b"})
		}, service, "rules[0].match.headers[0].value", "RE2"},
		{func(in *table.Input) {
			header(in, table.ValueMatch{Name: "x", Kind: table.ValueRegexp, Value: "(a{1,30}){1,30}"})
		}, service, "rules[0].match.headers[0].value", "instructions"},
		{func(in *table.Input) { match(in).Query = []table.ValueMatch{{Name: ""}} }, service, "rules[0].match.query[0].name", "not a query"},

		{func(in *table.Input) { rule(in).Action = table.ActionInput{} }, service, "rules[0].action", "has 0 of"},
		{func(in *table.Input) { rule(in).Action.Direct = &table.DirectInput{Status: 200} }, service, "rules[0].action", "has 2 of"},
		{func(in *table.Input) { forward(in).Backends[0].Weight = 1<<32 - 1 }, service, "rules[0].action.forward.backends", "add up"},
		{func(in *table.Input) { forward(in).RequestTimeout = -1 }, service, "rules[0].action.forward.requestTimeout", "less than 0"},
		{func(in *table.Input) { match(in).PathKind = table.PathExact }, service, "rules[0].action.forward.rewrite.prefix", "prefix match"},
		{func(in *table.Input) { forward(in).Rewrite.Path = "/x" }, service, "rules[0].action.forward.rewrite.prefix", "so is path"},
		{func(in *table.Input) { forward(in).Rewrite.Host = "a b" }, service, "rules[0].action.forward.rewrite.host", "not a host"},
		{func(in *table.Input) { retries(in, table.RetryInput{Codes: []uint16{302}}) }, service, "rules[0].action.forward.retry.codes[0]", "302"},
		{func(in *table.Input) { retries(in, table.RetryInput{Attempts: 1000}) }, service, "rules[0].action.forward.retry.attempts", "1000"},
		{func(in *table.Input) { retries(in, table.RetryInput{Backoff: time.Second, MaxBackoff: 1}) }, service, "rules[0].action.forward.retry.maxBackoff", "less than"},
		{func(in *table.Input) { edit(in, table.HeaderValue{Name: "a b"}) }, service, "rules[0].action.requestHeaders.set", "not a header name"},
		{func(in *table.Input) { edit(in, table.HeaderValue{Name: "Content-Length", Value: "1"}) }, service, "rules[0].action.requestHeaders.set", "may not be changed"},
		{func(in *table.Input) { edit(in, table.HeaderValue{Name: "a", Value: "b\nc"}) }, service, "rules[0].action.requestHeaders.set", "control"},
		{func(in *table.Input) { forward(in).Backends[0].ResponseHeaders.Remove = []string{""} }, service, "rules[0].action.forward.backends[0].responseHeaders.remove", "not a header name"},
		{func(in *table.Input) { direct(in, table.DirectInput{Status: 199}) }, service, "rules[0].action.direct.status", "199"},
		{func(in *table.Input) { direct(in, table.DirectInput{Status: 204, Body: "x"}) }, service, "rules[0].action.direct.body", "204"},
		{func(in *table.Input) { redir(in, table.RedirectInput{Status: 300}) }, service, "rules[0].action.redirect.status", "300"},
		{func(in *table.Input) { redir(in, table.RedirectInput{Status: 301, Scheme: "ftp"}) }, service, "rules[0].action.redirect.scheme", "ftp"},
		{func(in *table.Input) { redir(in, table.RedirectInput{Status: 301, Path: "x"}) }, service, "rules[0].action.redirect.path", "does not start"},

		{func(in *table.Input) { endpoint(in, table.EndpointInput{Addr: addr("0.0.0.0:1")}) }, backend, "endpoints[0].addr", "unspecified"},
		{func(in *table.Input) {
			endpoint(in, table.EndpointInput{Addr: addr("1.1.1.1:1"), Weight: 1<<32 - 1}, table.EndpointInput{Addr: addr("1.1.1.2:1")})
		}, backend, "endpoints", "add up"},
		{func(in *table.Input) { in.Backends[0].Balance = 9 }, backend, "balance", "9"},
		{func(in *table.Input) { in.Backends[0].ConnectTimeout = -1 }, backend, "connectTimeout", "less than 0"},
		{func(in *table.Input) { in.Backends[0].Breaker.Consecutive = 70000 }, backend, "breaker.consecutive", "70000"},
		{func(in *table.Input) { in.Backends[0].Breaker.MaxEjection = 1 }, backend, "breaker.maxEjection", "less than"},
		{func(in *table.Input) { in.Backends[0].Budget.Percent = 101 }, backend, "budget.percent", "101"},
	} {
		in := good()
		c.spoil(&in)
		s, err := table.Build(in)
		if s != nil || err == nil {
			t.Errorf("%s %s (%s): built", c.resource, c.field, c.reason)
			continue
		}
		found := false
		for _, f := range table.Faults(err) {
			found = found || f.Resource == c.resource && f.Field == c.field && strings.Contains(f.Reason, c.reason)
		}
		if !found {
			t.Errorf("no fault %s, %s, %s in: %v", c.resource, c.field, c.reason, err)
		}
	}
}

func TestEveryFaultIsReported(t *testing.T) {
	in := good()
	in.Services[0].Protocol, in.Services[1].Backend, in.Backends[0].Balance = 9, "x", 9
	_, err := table.Build(in)
	if got := len(table.Faults(err)); got != 3 {
		t.Fatalf("%d faults, not 3: %v", got, err)
	}
}

func TestDefaultsAreFilledIn(t *testing.T) {
	s, err := table.Build(good())
	if err != nil {
		t.Fatal(err)
	}
	b := s.Backends[1]
	if b.Name != "shop/web:80" || b.Index != 1 || b.ConnectTimeout != time.Second ||
		b.Breaker != (table.Breaker{Consecutive: 5, BaseEjection: time.Second, MaxEjection: time.Minute}) ||
		b.Budget != (table.Budget{Percent: 20, MinConcurrency: 3}) {
		t.Errorf("backend %+v", b)
	}
	want := []table.EndpointInput{
		{Addr: addr("10.1.0.1:80"), Weight: 1, Serving: true},
		{Addr: addr("10.1.0.9:80"), Weight: 1, Ready: true, Serving: true},
	}
	if fmt.Sprint(b.Endpoints) != fmt.Sprint(want) {
		t.Errorf("endpoints %v, want %v", b.Endpoints, want)
	}
	web := s.Service(addr("10.0.0.2:80"))
	retry := web.Rules[0].Action.Forward.Retry
	if retry.Attempts != 3 || !retry.OnConnectFailure || retry.OnReset || retry.Backoff != 25*time.Millisecond || retry.MaxBackoff != 250*time.Millisecond {
		t.Errorf("retry %+v", retry)
	}
	if web.Rules[0].Match.Path != "/api" || web.Default != nil || web.Namespace != "shop" {
		t.Errorf("service %+v", web)
	}
	db := s.Service(addr("10.0.0.1:5432"))
	if db.Index != 0 || db.Default.Action.Forward.Pick(0).Backend != s.Backends[0] || db.Default.Action.Forward.Retry == nil {
		t.Errorf("service %+v", db)
	}
}

func TestServiceByOrigin(t *testing.T) {
	s, err := table.Build(good())
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]string{
		"10.0.0.2:80": "shop/web:80", "[::ffff:10.0.0.2]:80": "shop/web:80", "[fd00::2]:80": "shop/web:80",
		"10.0.0.1:5432": "shop/db:5432", "10.0.0.1:80": "", "10.0.0.2:81": "", "[fd00::3]:80": "",
	} {
		got := ""
		if found := s.Service(addr(origin)); found != nil {
			got = found.Name
		}
		if got != want {
			t.Errorf("%s is %q, not %q", origin, got, want)
		}
	}
	origin := addr("[::ffff:10.0.0.2]:80")
	if n := testing.AllocsPerRun(100, func() { s.Service(origin) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The input stays its owner's: changing it later changes nothing.
func TestInputIsNotShared(t *testing.T) {
	in := good()
	retries(&in, table.RetryInput{Codes: []uint16{503}})
	edit(&in, table.HeaderValue{Name: "X-A", Value: "1"})
	s, err := table.Build(in)
	if err != nil {
		t.Fatal(err)
	}
	before := dump(t, s)
	in.Services[0].Origins[0] = addr("9.9.9.9:9")
	in.Backends[0].Endpoints[0].Weight = 77
	forward(&in).Backends[0].Weight, forward(&in).Rewrite.Prefix, forward(&in).Retry.Codes[0] = 5, "/z", 500
	rule(&in).Action.RequestHeaders.Set[0].Value = "2"
	if after := dump(t, s); after != before {
		t.Errorf("before %s\nafter %s", before, after)
	}
}

func TestPick(t *testing.T) {
	in := good()
	s, err := table.Build(in)
	if err != nil {
		t.Fatal(err)
	}
	f := s.Service(addr("10.0.0.2:80")).Rules[0].Action.Forward
	counts := map[string]int{}
	for i := range uint64(1000) {
		share := f.Pick(i * ((1<<64 - 1) / 1000))
		counts[share.Name]++
		if (share.Backend == nil) != (share.Name == "shop/gone:80") {
			t.Fatalf("share %+v", share)
		}
	}
	if counts["shop/v1:80"] < 899 || counts["shop/v1:80"] > 901 {
		t.Errorf("split %v", counts)
	}
	forward(&in).Backends[0].Weight, forward(&in).Backends[1].Weight = 0, 0
	if s, err = table.Build(in); err != nil {
		t.Fatal(err)
	}
	if s.Services[1].Rules[0].Action.Forward.Pick(1<<63) != nil {
		t.Error("a share without weight was picked")
	}
}

// Tables of the size that a large cluster has stay small and quick to build.
func TestLargeTables(t *testing.T) {
	in := large(5000, 10)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	s, err := table.Build(in)
	took := time.Since(start)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	bytes := after.HeapAlloc - before.HeapAlloc
	t.Logf("%d services, 50,000 endpoints: %d KiB, built in %s", len(s.Services), bytes>>10, took)
	if bytes > 20<<20 {
		t.Errorf("%d bytes", bytes)
	}
	runtime.KeepAlive(in)
}

// large makes services with their own backend, of so many endpoints each.
func large(services, endpoints int) table.Input {
	var in table.Input
	for i := range services {
		name := fmt.Sprintf("namespace-%d/service-%d:80", i%100, i)
		b := table.BackendInput{Name: name}
		for j := range endpoints {
			n := i*endpoints + j
			ip := netip.AddrFrom4([4]byte{10, byte(1 + n>>16), byte(n >> 8), byte(n)})
			b.Endpoints = append(b.Endpoints, table.EndpointInput{Addr: netip.AddrPortFrom(ip, 8080), Ready: true, Serving: true})
		}
		origin := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
		in.Backends = append(in.Backends, b)
		in.Services = append(in.Services, table.ServiceInput{Name: name, Origins: []netip.AddrPort{origin}, Backend: name})
	}
	return in
}

func BenchmarkService(b *testing.B) {
	s, err := table.Build(large(5000, 1))
	if err != nil {
		b.Fatal(err)
	}
	origin := addr("10.0.9.9:80")
	for b.Loop() {
		s.Service(origin)
	}
}
