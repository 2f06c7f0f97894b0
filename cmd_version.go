package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/culvert-mesh/culvert/node"
)

func runVersion(_ context.Context, args []string, to streams) error {
	f := newFlags("version", "", "Prints version, commit and compiler, on one line.", to)
	if err := parse(f, args, 0); err != nil {
		return err
	}
	b := node.Build()
	fmt.Fprintf(to.out, "culvert %s %s %s %s/%s\n", b.Version, b.Revision, b.Go, runtime.GOOS, runtime.GOARCH)
	return nil
}
