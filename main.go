// Command culvert is a transparent proxy for the pods of one node, with the
// control plane that tells it what to do. This package holds subcommands and
// flags only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], streams{out: os.Stdout, err: os.Stderr}))
}

// streams is where a command writes: results to out, log and errors to err.
type streams struct{ out, err io.Writer }

// command is one subcommand.
type command struct {
	name, args, about string
	run               func(ctx context.Context, args []string, to streams) error
}

// commands in the order in which the help lists them.
func commands() []command {
	return []command{
		{"node", "[flags]", "run the proxy of this node", runNode},
		{"check", "DIR", "say what is wrong with a directory of policy", runCheck},
		{"controlplane", "[flags]", "serve a directory of policy to nodes elsewhere", runControlPlane},
		{"version", "", "print what this program was built from", runVersion},
	}
}

// Exit codes: 1 says that something is wrong, 2 that the command line is.
const (
	exitOK    = 0
	exitFault = 1
	exitUsage = 2
)

// errSilent is an error whose explanation was printed already.
var errSilent = errors.New("see above")

// usageError is a fault of the command line.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// run runs the command that args name and returns the exit code.
func run(ctx context.Context, args []string, to streams) int {
	if len(args) == 0 {
		usage(to.err)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		usage(to.out)
		return exitOK
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		err := c.run(ctx, args[1:], to)
		var wrong usageError
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return exitOK
		case errors.As(err, &wrong):
			fmt.Fprintf(to.err, "culvert %s: %v\nRun `culvert %s -h` for its flags.\n", c.name, err, c.name)
			return exitUsage
		case !errors.Is(err, errSilent):
			fmt.Fprintf(to.err, "culvert %s: %s\n", c.name, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		return exitFault
	}
	fmt.Fprintf(to.err, "culvert: there is no command %q\n", args[0])
	usage(to.err)
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Culvert is a transparent proxy for the pods of a node.\n\nUsage:\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  culvert %-23s %s\n", c.name+" "+c.args, c.about)
	}
	fmt.Fprint(w, "\n`culvert COMMAND -h` lists the flags of a command.\n")
}

// newFlags makes the flag set of a command; about is printed above the flags.
func newFlags(name, args, about string, to streams) *flag.FlagSet {
	f := flag.NewFlagSet("culvert "+name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {
		fmt.Fprintf(to.out, "Usage: culvert %s %s\n\n%s\n\n", name, args, about)
		f.SetOutput(to.out)
		f.PrintDefaults()
		f.SetOutput(io.Discard)
	}
	return f
}

// parse reads args; want is how many arguments there must be beside flags.
func parse(f *flag.FlagSet, args []string, want int) error {
	err := f.Parse(args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return usageError{err.Error()}
	}
	if err == nil && f.NArg() != want {
		return usageError{fmt.Sprintf("%d arguments, want %d: %q", f.NArg(), want, f.Args())}
	}
	return err
}
