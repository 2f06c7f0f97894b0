package main

import (
	"context"
	"fmt"

	"github.com/culvert-mesh/culvert/controlplane"
)

const aboutCheck = `Reads a directory of policy as culvert node would and prints one line for
everything that is wrong with it: file, document, object, field and reason. The
exit code is 1 when there is a line.`

func runCheck(_ context.Context, args []string, to streams) error {
	f := newFlags("check", "DIR", aboutCheck, to)
	if err := parse(f, args, 1); err != nil {
		return err
	}
	problems, err := controlplane.Check(f.Arg(0))
	if err != nil {
		return err
	}
	for _, p := range problems {
		fmt.Fprintln(to.out, p)
	}
	if len(problems) > 0 {
		return errSilent
	}
	return nil
}
