package l7_test

import (
	"strings"
	"testing"

	"github.com/culvert-mesh/culvert/proxy/l7"
	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// answered sends a request to a world with these rules and returns the answer's
// head without its date.
func answered(t *testing.T, rule table.RuleInput, request string) (*world, *proxytest.Peer, string) {
	t.Helper()
	w := newWorld(t, l7.Limits{})
	rule.Name = "shop/cart/0"
	w.apply([]table.RuleInput{rule}, at(backend))
	client, _ := w.dial()
	client.Send(request)
	head := client.Until("\r\n\r\n")
	if from := strings.Index(head, "date: "); from >= 0 {
		end := from + strings.Index(head[from:], "\r\n") + 2
		head = head[:from] + head[end:]
	} else {
		t.Errorf("no date in %q", head)
	}
	return w, client, head
}

func TestRedirects(t *testing.T) {
	prefix := table.MatchInput{PathKind: table.PathPrefix, Path: "/old"}
	for name, c := range map[string]struct {
		redirect table.RedirectInput
		want     string
	}{
		"status only":     {table.RedirectInput{Status: 301}, "http://cart:8080/old/a?q=1"},
		"scheme":          {table.RedirectInput{Status: 301, Scheme: "https"}, "https://cart/old/a?q=1"},
		"scheme and port": {table.RedirectInput{Status: 302, Scheme: "https", Port: 8443}, "https://cart:8443/old/a?q=1"},
		"port 80":         {table.RedirectInput{Status: 302, Port: 80}, "http://cart/old/a?q=1"},
		"host":            {table.RedirectInput{Status: 307, Host: "new.example"}, "http://new.example:8080/old/a?q=1"},
		"path":            {table.RedirectInput{Status: 308, Path: "/x"}, "http://cart:8080/x?q=1"},
		"prefix":          {table.RedirectInput{Status: 303, ReplacePrefix: true, Prefix: "/new"}, "http://cart:8080/new/a?q=1"},
	} {
		t.Run(name, func(t *testing.T) {
			w, client, head := answered(t, table.RuleInput{Match: prefix, Action: table.ActionInput{Redirect: &c.redirect}},
				"GET /old/a?q=1 HTTP/1.1\r\nHost: cart:99\r\n\r\n")
			if !strings.Contains(head, "\r\nlocation: "+c.want+"\r\n") {
				t.Errorf("got %q, want location %s", head, c.want)
			}
			client.Send(get("/other")) // the connection goes on
			client.Until("\r\n\r\n")
			w.counted(requests("shop/cart/0", "", int(c.redirect.Status), telemetry.None, 1))
		})
	}
}

func TestDirectResponses(t *testing.T) {
	direct := table.ActionInput{
		Direct:          &table.DirectInput{Status: 503, Body: "closed\n", Reason: "no_endpoint"},
		ResponseHeaders: table.HeaderOps{Set: []table.HeaderValue{{Name: "Retry-After", Value: "9"}}, Remove: []string{"content-type"}},
	}
	want := "HTTP/1.1 503 Service Unavailable\r\nx-culvert-reason: no_endpoint\r\nRetry-After: 9\r\nContent-Length: 7\r\n\r\n"
	w, client, head := answered(t, table.RuleInput{Action: direct}, get("/"))
	if head != want {
		t.Errorf("got %q, want %q", head, want)
	}
	client.Expect("closed\n")
	w.counted(requests("shop/cart/0", "", 503, telemetry.NoEndpoint, 1))
	_, client, head = answered(t, table.RuleInput{Action: direct}, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if !strings.Contains(head, "Content-Length: 7\r\n") {
		t.Errorf("got %q", head)
	}
	client.ExpectEOF()
}

func TestEditsAndRewrites(t *testing.T) {
	w := newWorld(t, l7.Limits{})
	endpoint := proxytest.Listen(t)
	edit := func(name string) table.HeaderOps {
		return table.HeaderOps{
			Set:    []table.HeaderValue{{Name: "X-Set", Value: name}},
			Add:    []table.HeaderValue{{Name: "X-Add", Value: name}},
			Remove: []string{"X-Drop-" + name},
		}
	}
	rules := forward(func(f *table.ForwardInput) {
		f.Rewrite = &table.RewriteInput{Host: "inner.example", ReplacePrefix: true, Prefix: "/v2"}
		f.Backends[0].RequestHeaders, f.Backends[0].ResponseHeaders = edit("Backend"), edit("Backend")
	})
	rules[0].Match = table.MatchInput{PathKind: table.PathPrefix, Path: "/v1"}
	rules[0].Action.RequestHeaders, rules[0].Action.ResponseHeaders = edit("Rule"), edit("Rule")
	w.apply(rules, at(backend, endpoint.Addr()))
	client, _ := w.dial()
	client.Send("GET /v1/a?b=c HTTP/1.1\r\nHost: cart\r\nX-Drop-Rule: 1\r\nX-Keep: 1\r\nX-Set: old\r\nX-Drop-Backend: 1\r\n\r\n")
	server := endpoint.Accept()
	server.Expect("GET /v2/a?b=c HTTP/1.1\r\nHost: inner.example\r\nX-Keep: 1\r\nX-Add: Rule\r\nX-Set: Backend\r\nX-Add: Backend\r\n\r\n")
	server.Send("HTTP/1.1 200 OK\r\nX-Drop-Rule: 1\r\nX-Drop-Backend: 1\r\nContent-Length: 0\r\n\r\n")
	client.Expect("HTTP/1.1 200 OK\r\nX-Add: Rule\r\nX-Set: Backend\r\nX-Add: Backend\r\nContent-Length: 0\r\n\r\n")
}

func TestWeights(t *testing.T) {
	w := newWorld(t, l7.Limits{})
	endpoints := [2]*proxytest.Server{proxytest.Listen(t), proxytest.Listen(t)}
	rules := forward(func(f *table.ForwardInput) {
		f.Backends = []table.WeightedBackend{{Backend: backend, Weight: 0}, {Backend: "shop/cart-v2:80", Weight: 1}}
	})
	w.apply(rules, at(backend, endpoints[0].Addr()), at("shop/cart-v2:80", endpoints[1].Addr()))
	client, _ := w.dial()
	var server *proxytest.Peer
	for range 20 {
		client.Send(get("/"))
		if server == nil {
			server = endpoints[1].Accept()
		}
		server.Expect(get("/"))
		server.Send(ok("2"))
		client.Expect(ok("2"))
	}
}

// TestSnapshotIsPinnedPerRequest: a request goes on under the tables that it
// began with, the next one on the same connection sees the new ones.
func TestSnapshotIsPinnedPerRequest(t *testing.T) {
	w := newWorld(t, l7.Limits{})
	old, young := proxytest.Listen(t), proxytest.Listen(t)
	w.apply(nil, at(backend, old.Addr()))
	client, o := w.dial()
	client.Send(get("/1"))
	server := old.Accept()
	server.Expect(get("/1"))
	w.apply(nil, at(backend, young.Addr()))
	server.Send(ok("1"))
	client.Expect(ok("1"))
	server.ExpectEOF() // not kept: its endpoint is gone
	client.Send(get("/2"))
	server = young.Accept()
	server.Expect(get("/2"))
	server.Send(ok("2"))
	client.Expect(ok("2"))
	empty, err := table.Build(table.Input{})
	if err != nil {
		t.Fatal(err)
	}
	w.tables.Store(&l7.Tables{Snapshot: empty, View: w.registry.Apply(empty)})
	client.Send(get("/3"))
	if head := client.Until("\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 503 ") || !strings.Contains(head, "unknown_origin") {
		t.Errorf("got %q", head)
	}
	client.Close()
	o.over(telemetry.None)
}
