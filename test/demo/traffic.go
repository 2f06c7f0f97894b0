package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
)

// settleTime is how long the metrics may lag behind the answers.
const settleTime = 3 * time.Second

// captured shows that connections of unmodified clients reach the proxy.
func (d *demo) captured(ctx context.Context) error {
	d.step("Captured in the kernel")
	d.note("Each client opens 200 connections to the service's address %s and sends a request on each. They know of no proxy; a hook in connect(2) leads them there.", d.api.Addr4())
	before, err := d.node.Metrics(ctx)
	if err != nil {
		return err
	}
	const each = 200
	var ok int64
	for _, client := range []*world.Pod{d.client1, d.client2} {
		r, err := d.load(ctx, client, peer.Load{URL: d.url("/"), Requests: each, Workers: 4, NewConnection: true})
		if err != nil {
			return err
		}
		ok += r.OK
	}
	seen, err := d.look(ctx)
	if err != nil {
		return err
	}
	const opened = 2*each + 1
	redirected := func(m world.Metrics) int64 { return delta(before, m, "culvert_capture_total", "reason", "to_proxy") }
	after, err := d.settle(ctx, func(m world.Metrics) bool { return redirected(m) == opened })
	if err != nil {
		return err
	}
	d.gap()
	d.row("connections that the clients opened", count(opened), "their own count")
	d.row("redirected to the proxy by the kernel hook", count(redirected(after)), `culvert_capture_total to_proxy`)
	d.row("the client's socket is connected to", seen.remote, "what it dialled")
	d.row("the server was called by", seen.source, "client-1 itself, no proxy")
	d.gap()
	d.claim(ok == 2*each && redirected(after) == opened, "%s of %s connections were captured, and each request was answered",
		count(redirected(after)), count(opened))
	d.claim(seen.remote == d.api.Addr4() && seen.source == d.client1.IP4.String(), "neither side sees that there is something between them")
	return nil
}

// look is what the two ends of one connection see.
type look struct{ remote, source string }

// look sends one request and asks both ends about the connection.
func (d *demo) look(ctx context.Context) (look, error) {
	var seen look
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { seen.remote = i.Conn.RemoteAddr().String() }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, d.url("/look"), nil)
	if err != nil {
		return seen, err
	}
	client := d.client1.HTTPClient()
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return seen, fmt.Errorf("send a request: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return seen, fmt.Errorf("read an answer: %w", err)
	}
	d.ledger.add(d.client1, &peer.Result{Requests: 1, Status: map[int]int64{resp.StatusCode: 1}})
	var echo peer.Echo
	if err := json.Unmarshal(body, &echo); err != nil {
		return seen, fmt.Errorf("read an answer: %w", err)
	}
	seen.source, _, err = net.SplitHostPort(echo.Remote)
	return seen, err
}

// split shows weights and a header match.
func (d *demo) split(ctx context.Context) error {
	d.step("Split by weight and by header")
	d.note("%s says, in Gateway API's words, what happens to a request. These are two of its rules; the one that asks for more, a header, goes first.", routeFile)
	d.gap()
	d.yaml(rule("try-v2"), rule("split"))
	const requests = 4000
	plain, err := d.load(ctx, d.client1, peer.Load{URL: d.url("/"), Requests: requests, Workers: 4})
	if err != nil {
		return err
	}
	const chosen = 500
	header, err := d.load(ctx, d.client2, peer.Load{URL: d.url("/"), Requests: chosen, Workers: 2, Header: http.Header{"X-Version": {"v2"}}})
	if err != nil {
		return err
	}
	d.gap()
	d.text("%-34s %10s %10s %10s", "requests answered by", "api-v1", "api-v2", "api-v3")
	line := func(what string, r *peer.Result) {
		d.text("%-34s %10s %10s %10s", what, count(r.Server["api-v1"]), count(r.Server["api-v2"]), count(r.Server["api-v3"]))
	}
	line(count(int64(requests))+" without the header", plain)
	d.text("%-34s %10s %10s", "", percent(plain.Server["api-v1"], requests), percent(plain.Server["api-v2"], requests))
	line(count(int64(chosen))+" with x-version: v2", header)
	d.gap()
	// Binomial: one standard deviation is 0.7 points; 3 points are beyond chance.
	share := 100 * float64(plain.Server["api-v1"]) / requests
	both := plain.Server["api-v1"]+plain.Server["api-v2"] == requests
	d.claim(plain.OK == requests && both && math.Abs(share-75) < 3, "%.1f %% and %.1f %%, for weights of 75 and 25", share, 100-share)
	d.claim(header.OK == chosen && header.Server["api-v2"] == chosen, "%s of %s requests with the header went to version 2", count(header.Server["api-v2"]), count(int64(chosen)))
	return nil
}

// rescued shows retries: the same requests without and with them.
func (d *demo) rescued(ctx context.Context) error {
	d.step("Retried and rescued")
	d.note("Version 3 now answers every other request with 503. /raw goes to all three versions; so does /any, where the route says:")
	d.gap()
	d.yaml(rule("any"))
	if err := d.v3.server.SetFaults(peer.Faults{FlapEvery: 1}); err != nil {
		return err
	}
	// Three workers: a backend's budget always allows three retries at a time.
	const requests = 1200
	raw, err := d.load(ctx, d.client1, peer.Load{URL: d.url("/raw"), Requests: requests, Workers: 3})
	if err != nil {
		return err
	}
	again, err := d.retried(ctx, peer.Load{URL: d.url("/any"), Requests: requests, Workers: 3})
	if err != nil {
		return err
	}
	d.gap()
	d.text("%-34s %10s %10s %10s", "", "requests", "200", "503")
	for _, way := range []struct {
		name string
		*peer.Result
	}{{"/raw  no retry", raw}, {"/any  retry on 503", again.Result}} {
		d.text("%-34s %10s %10s %10s", way.name, count(way.Requests), count(way.OK), count(way.Status[503]))
	}
	d.gap()
	d.row("503s of version 3 during /any", count(again.failed), "its own count")
	d.row("requests tried again on another version", count(again.retries), "proxy_retries_total")
	d.gap()
	d.claim(raw.Status[503] > 0 && raw.Status[503]+raw.OK == requests, "without retries %s of %s requests failed", count(raw.Status[503]), count(raw.Requests))
	d.claim(again.failed > 0 && again.retries == again.failed && again.OK == requests,
		"with retries none failed: %s were tried again, and all of them were rescued", count(again.retries))
	return nil
}

// retried is a load, with what became of it behind the scenes.
type retried struct {
	*peer.Result
	// failed is how many attempts version 3 failed, by its own count; retries
	// is how many requests were tried again, by the node's.
	failed, retries int64
}

// retried sends a load from client-2.
func (d *demo) retried(ctx context.Context, l peer.Load) (out retried, err error) {
	before, err := d.node.Metrics(ctx)
	if err != nil {
		return out, err
	}
	faults, err := d.v3.server.Stats()
	if err != nil {
		return out, err
	}
	if out.Result, err = d.load(ctx, d.client2, l); err != nil {
		return out, err
	}
	stats, err := d.v3.server.Stats()
	if err != nil {
		return out, err
	}
	out.failed = stats.Failures - faults.Failures
	_, err = d.settle(ctx, func(m world.Metrics) bool {
		out.retries = delta(before, m, "proxy_retries_total", "service", d.serviceName(), "reason", "upstream_status")
		return out.retries == out.failed
	})
	return out, err
}

// serviceName is the API's name in metrics.
func (d *demo) serviceName() string { return "default/api:80" }
