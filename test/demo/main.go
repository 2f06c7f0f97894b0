// Command demo shows Culvert at work: it builds a world (test/world), starts
// the real `culvert node` on a directory of YAML, sends real traffic from pods,
// and says what happened.
//
// Nothing that it prints is taken for granted: every claim is checked against
// what the demo itself counted and against the node's metrics, and the exit
// status is 0 only when all hold. It knows Culvert as a user does: by its
// binary, its policy files and its ports.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/culvert-mesh/culvert/test/world"
	"golang.org/x/sys/unix"
)

const usage = `usage: culvert-demo [flags]                    see Culvert work
       culvert-demo in POD COMMAND [ARG...]    run a command inside a pod of a demo that is kept

flags:
`

// options are the flags.
type options struct {
	binary, peer string
	keep         bool
}

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "in":
			fail(enter(os.Args[2:]))
			return
		case "cache":
			fail(serveCache(os.Args[2:]))
			return
		}
	}
	var o options
	flag.StringVar(&o.binary, "binary", "", "culvert `binary`; default: built from this module")
	flag.StringVar(&o.peer, "peer", "", "culvert-peer `binary`; default: built from this module")
	flag.BoolVar(&o.keep, "keep", false, "leave the world running and print commands to play with")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if os.Geteuid() != 0 {
		fail(errors.New("needs root: it makes network namespaces and loads BPF programs"))
	}
	if o.peer != "" {
		world.UsePeer(o.peer)
	}
	// Before anything is made, and until the process ends: a second Ctrl-C does
	// not cut the cleaning up short.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	os.Exit(show(ctx, o))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "culvert-demo:", err)
		os.Exit(1)
	}
}

// show runs the demo and returns the exit status: 0 when every claim holds, 1
// when one does not or something went wrong, 130 when it was interrupted.
func show(ctx context.Context, o options) int {
	d := &demo{options: o, screen: newScreen(os.Stdout)}
	err := d.run(ctx)
	if ctx.Err() != nil {
		d.gap()
		d.note("Cleaning up.")
		err = nil
	}
	err = errors.Join(err, d.close())
	d.summary(ctx.Err() != nil && !d.kept, err)
	switch {
	case err != nil:
		return 1
	case ctx.Err() != nil && !d.kept:
		return 130
	case d.broken > 0:
		return 1
	}
	return 0
}

// run does one thing after the other, in the order of the page.
func (d *demo) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.build,
		d.captured,
		d.split,
		d.rescued,
		d.ejected,
		d.live,
		d.opaque,
		d.latency,
		d.metrics,
		d.killed,
		d.keepRunning,
	} {
		if err := step(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}
