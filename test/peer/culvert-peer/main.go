// Command culvert-peer runs the servers and clients of test/peer inside pods,
// and the helper processes of test/world.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
	"github.com/culvert-mesh/culvert/test/world"
	"golang.org/x/sys/unix"
)

const usage = `usage: culvert-peer <what> [flags]
  http      HTTP server with faults on demand
  tcp       TCP server: echo, greeting, counter
  load      HTTP client that counts and measures
  pingpong  TCP client that measures
  idle      holds keep-alive connections
  sockets   helper of test/world: dials for a test
  guard     helper of test/world: sweeps when its owner is gone
  sweep     removes what killed tests left
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "culvert-peer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("say what to run\n%s", usage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	switch args[0] {
	case "http":
		return serveHTTP(ctx, args[1:])
	case "tcp":
		return serveTCP(ctx, args[1:])
	case "load":
		return load(ctx, args[1:])
	case "pingpong":
		return pingPong(ctx, args[1:])
	case "idle":
		return idle(ctx, args[1:])
	case "sockets":
		return world.ServeSockets()
	case "sweep":
		return world.Sweep()
	case "guard":
		return world.Guard(os.Stdin, args[len(args)-1])
	}
	return fmt.Errorf("unknown %q\n%s", args[0], usage)
}

func serveHTTP(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("http", flag.ExitOnError)
	listen := f.String("listen", ":8080", "address to listen on")
	admin := f.String("admin", "", "address of the admin port: GET /stats, PUT /faults")
	name := f.String("name", "peer", "name in X-Served-By")
	faults := f.String("faults", "", "faults as JSON, see peer.Faults")
	_ = f.Parse(args)
	start, err := peer.ParseFaults(*faults)
	if err != nil {
		return err
	}
	s := &peer.Server{Name: *name}
	s.SetFaults(start)
	if *admin != "" {
		l, err := open(*admin)
		if err != nil {
			return err
		}
		go func() { _ = http.Serve(l, s.Admin()) }()
	}
	l, err := open(*listen)
	if err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		_ = s.Close()
	}()
	fmt.Println("listening on", l.Addr())
	return s.Serve(l)
}

func serveTCP(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("tcp", flag.ExitOnError)
	listen := f.String("listen", ":9000", "address to listen on")
	s := &peer.TCPServer{}
	f.StringVar(&s.Greeting, "greeting", "", "what is sent first")
	f.BoolVar(&s.Quiet, "quiet", false, "count instead of echoing")
	f.BoolVar(&s.Once, "once", false, "close after the first answer")
	_ = f.Parse(args)
	l, err := open(*listen)
	if err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		l.Close()
	}()
	fmt.Println("listening on", l.Addr())
	return s.Serve(l)
}

func load(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("load", flag.ExitOnError)
	l := peer.Load{Header: http.Header{}}
	f.StringVar(&l.URL, "url", "", "what to ask for")
	f.StringVar(&l.Method, "method", "", "method")
	f.IntVar(&l.Workers, "workers", 1, "workers, with a connection each")
	f.Float64Var(&l.Rate, "rate", 0, "requests per second in all; 0: as fast as answers come")
	f.DurationVar(&l.Duration, "duration", 0, "how long")
	f.Int64Var(&l.Requests, "requests", 0, "how many")
	f.Int64Var(&l.Body, "body", 0, "bytes of body")
	f.BoolVar(&l.Verify, "verify", false, "check the bytes")
	f.DurationVar(&l.Timeout, "timeout", 0, "of one request; 0: 10 s")
	f.BoolVar(&l.NewConnection, "new", false, "a new connection for every request")
	f.StringVar(&l.ReasonHeader, "reason-header", "", "response header whose values are counted")
	f.Func("header", "Name=value, repeatable", func(s string) error {
		for i := range s {
			if s[i] == '=' {
				l.Header.Add(s[:i], s[i+1:])
				return nil
			}
		}
		return fmt.Errorf("want Name=value")
	})
	_ = f.Parse(args)
	r, err := l.Run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func pingPong(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("pingpong", flag.ExitOnError)
	var p peer.PingPong
	f.StringVar(&p.Addr, "addr", "", "address and port")
	f.IntVar(&p.Size, "size", 64, "bytes of a message")
	f.IntVar(&p.Connections, "connections", 1, "connections at the same time")
	f.DurationVar(&p.Duration, "duration", time.Second, "how long")
	f.BoolVar(&p.Reconnect, "reconnect", false, "a new connection for every message")
	_ = f.Parse(args)
	r, err := p.Run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func idle(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("idle", flag.ExitOnError)
	addr := f.String("addr", "", "address and port")
	n := f.Int("connections", 1, "how many connections")
	_ = f.Parse(args)
	held, err := peer.OpenIdle(*addr, *n)
	if err != nil {
		return err
	}
	defer held.Close()
	fmt.Println("holding", *n)
	<-ctx.Done()
	return nil
}

// open listens without MPTCP, Go's default, which proxies and capture tests do
// not want in their way.
func open(addr string) (net.Listener, error) {
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	return c.Listen(context.Background(), "tcp", addr)
}
