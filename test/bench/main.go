// Command bench measures Culvert beside others in one run, and prints one table.
//
// It builds a world (test/world) with a client pod (wrk), a backend pod (nginx)
// and a pod for each other proxy, and asks for the same thing through each.
// Only ratios within a round mean anything: the order of contenders turns round
// with every round (ABBA), so that a machine that slows down slows all of them.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-mesh/culvert/test/world"
	"golang.org/x/sys/unix"
)

// options are the flags.
type options struct {
	quick      bool
	rounds     int
	run        time.Duration
	contenders []string
	parts      []string
	// cells of the HTTP part
	connections []int
	bodies      []string
	world       world.Config
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "reverseproxy" {
		exit(serveReverseProxy(os.Args[2], os.Args[3]))
	}
	o, err := parseFlags()
	if err != nil {
		exit(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	exit(bench(ctx, o))
}

// parseFlags reads the command line.
func parseFlags() (options, error) {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "64 connections and a tiny body only")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds per cell; 0: 4, quick 6")
	flag.DurationVar(&o.run, "run", 2*time.Second, "how long one contender runs in one round; whole seconds")
	contenders := flag.String("contenders", "direct,culvert,haproxy,nginx,reverseproxy", "who runs, comma-separated; direct is needed")
	parts := flag.String("parts", "", `parts, comma-separated: "http", "tcp", "rate", "idle"; "": all, quick http and tcp`)
	connections := flag.String("conns", "", "connections of the http part, comma-separated; default: 1,64,512, quick 64")
	bodies := flag.String("bodies", "", "bodies of the http part, comma-separated; default: tiny,1k,64k, quick tiny")
	flag.StringVar(&o.world.Binary, "binary", "", "culvert binary; default: built from this module")
	flag.Parse()
	o.contenders = strings.Split(*contenders, ",")
	full := map[bool]string{true: "http,tcp", false: "http,tcp,rate,idle"}
	o.parts = strings.Split(cmp.Or(*parts, full[o.quick]), ",")
	full = map[bool]string{true: "tiny", false: "tiny,1k,64k"}
	o.bodies = strings.Split(cmp.Or(*bodies, full[o.quick]), ",")
	full = map[bool]string{true: "64", false: "1,64,512"}
	for _, n := range strings.Split(cmp.Or(*connections, full[o.quick]), ",") {
		v, err := strconv.Atoi(n)
		if err != nil {
			return o, fmt.Errorf("-conns: %w", err)
		}
		o.connections = append(o.connections, v)
	}
	o.rounds = cmp.Or(o.rounds, map[bool]int{true: 6, false: 4}[o.quick])
	o.run = max(o.run.Truncate(time.Second), time.Second)
	return o, nil
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench builds the field, runs the parts in order and prints the table.
func bench(ctx context.Context, o options) (err error) {
	f, err := newField(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.close(); err == nil {
			err = closeErr
		}
	}()
	printMachine()
	defer func() { f.table.print(os.Stdout) }()
	for _, part := range o.parts {
		switch part {
		case "http":
			err = f.httpCells(ctx)
		case "tcp":
			err = f.tcpCells(ctx)
		case "rate":
			err = f.fixedRate(ctx)
		case "idle":
			err = f.idleMemory(ctx)
		default:
			err = fmt.Errorf("unknown part %q", part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
