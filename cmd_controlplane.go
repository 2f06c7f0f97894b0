package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/culvert-mesh/culvert/controlplane"
)

const aboutControlPlane = `Serves a directory of policy to nodes that were started with --xds: the same
control plane that culvert node --policy runs inside itself, over TCP.`

func runControlPlane(ctx context.Context, args []string, to streams) error {
	var level slog.LevelVar
	f := newFlags("controlplane", "[flags]", aboutControlPlane, to)
	policy := f.String("policy", "", "`directory` of Kubernetes YAML, watched")
	address := f.String("listen", "127.0.0.1:15010", "`address` to serve on; not encrypted: loopback or a trusted network only")
	f.TextVar(&level, "log-level", &level, "`level` of the log: debug, info, warn or error")
	if err := parse(f, args, 0); err != nil {
		return err
	}
	if *policy == "" {
		return usageError{"--policy is needed: a directory of policy"}
	}
	if err := isDirectory(*policy); err != nil {
		return err
	}
	log := newLog(to.err, &level)
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return fmt.Errorf("open the port: %w (--listen sets another address)", err)
	}
	log.Info("control plane started", "policy", *policy, "listen", listener.Addr().String())
	return controlplane.Run(ctx, controlplane.Config{PolicyDir: *policy, Listener: listener, Log: log})
}
