package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/culvert-mesh/culvert/test/world"
)

// opaque shows the kernel's own choice of an endpoint.
func (d *demo) opaque(ctx context.Context) error {
	d.step("Opaque TCP, balanced in the kernel")
	d.note("The service cache speaks a protocol of its own. client-1 opens 200 connections to %s; there is no layer 7 to do, so the hook picks an endpoint and the proxy is not asked.", d.cache.Addr4())
	before, err := d.node.Metrics(ctx)
	if err != nil {
		return err
	}
	const connections = 200
	by := map[string]int{}
	same, hidden := 0, 0
	for range connections {
		t, err := d.touch(ctx)
		if err != nil {
			return err
		}
		by[t.name]++
		if t.source == t.local {
			same++
		}
		if t.remote == d.cache.Addr4() {
			hidden++
		}
	}
	const service = "default/cache:6379"
	after, err := d.settle(ctx, func(m world.Metrics) bool {
		return delta(before, m, "culvert_capture_balanced_connections_total", "service", service) == connections
	})
	if err != nil {
		return err
	}
	balanced := delta(before, after, "culvert_capture_balanced_connections_total", "service", service)
	proxied := delta(before, after, "culvert_capture_total", "reason", "to_proxy") + delta(before, after, "proxy_connections_total", "service", service)
	d.gap()
	d.row("connections to cache-1, to cache-2", fmt.Sprintf("%d, %d", by["cache-1"], by["cache-2"]), "what the servers say")
	d.row("balanced by the kernel hook", count(balanced), "culvert_capture_balanced_…_total")
	d.row("that the proxy saw", count(proxied), "proxy_connections_total, to_proxy")
	d.row("same ports at the client's and server's end", count(same), "one TCP connection, end to end")
	d.gap()
	// Binomial: one standard deviation is 7; 50 are beyond chance.
	d.claim(balanced == connections && by["cache-1"]+by["cache-2"] == connections && by["cache-1"] > 50 && by["cache-2"] > 50,
		"both endpoints were used: %d and %d of %d connections", by["cache-1"], by["cache-2"], connections)
	d.claim(proxied == 0 && same == connections && hidden == connections,
		"no proxy hop: the %d sockets end at the server itself, and the client still sees %s", connections, d.cache.Addr4())
	return nil
}

// touched is what one connection to the cache shows.
type touched struct{ name, source, local, remote string }

// touch connects to the cache and reads who is there.
func (d *demo) touch(ctx context.Context) (touched, error) {
	c, err := d.client1.Dial(ctx, "tcp", d.cache.Addr4())
	if err != nil {
		return touched{}, err
	}
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return touched{}, fmt.Errorf("read the cache's greeting: %w", err)
	}
	name, source, _ := strings.Cut(strings.TrimSpace(line), " serves ")
	return touched{name: name, source: source, local: c.LocalAddr().String(), remote: c.RemoteAddr().String()}, nil
}

// serveCache is the server in the cache's pods. It speaks first, as many
// protocols do: its name, and who called. Then it echoes.
func serveCache(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: culvert-demo cache ADDRESS NAME")
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(context.Background(), "tcp", args[0])
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go func() {
			defer c.Close()
			remote := c.RemoteAddr().(*net.TCPAddr).AddrPort()
			fmt.Fprintf(c, "%s serves %s:%d\n", args[1], remote.Addr().Unmap(), remote.Port())
			_, _ = io.Copy(c, c)
		}()
	}
}
