// Command bench measures Culvert beside others in one run, and prints one table.
//
// It builds a world (test/world) with a client pod (wrk), a backend pod (nginx)
// and a pod for each other proxy, and asks for the same thing through each.
// Only ratios within a round mean anything: the order of contenders turns round
// with every round (ABBA), so that a machine that slows down slows all of them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
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
	world      world.Config
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "reverseproxy" {
		exit(serveReverseProxy(os.Args[2], os.Args[3]))
	}
	var o options
	flag.BoolVar(&o.quick, "quick", false, "64 connections and a tiny body only")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds per cell; 0: 4, quick 6")
	flag.DurationVar(&o.run, "run", 2*time.Second, "how long one contender runs in one round; whole seconds")
	contenders := flag.String("contenders", "direct,culvert,haproxy,nginx,reverseproxy", "who runs, comma-separated; direct is needed")
	parts := flag.String("parts", "", `parts, comma-separated: "http", "tcp", "rate", "idle"; "": all, quick http and tcp`)
	flag.StringVar(&o.world.Binary, "binary", "", "culvert binary; default: built from this module")
	flag.Parse()
	o.contenders = strings.Split(*contenders, ",")
	switch {
	case *parts != "":
		o.parts = strings.Split(*parts, ",")
	case o.quick:
		o.parts = []string{"http", "tcp"}
	default:
		o.parts = []string{"http", "tcp", "rate", "idle"}
	}
	if o.rounds == 0 {
		o.rounds = 4
		if o.quick {
			o.rounds = 6
		}
	}
	o.run = max(o.run.Truncate(time.Second), time.Second)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	exit(bench(ctx, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench builds the field, runs the parts in order and prints each when it is
// done.
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
