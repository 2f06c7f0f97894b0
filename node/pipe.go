package node

import (
	"context"
	"net"

	"google.golang.org/grpc/test/bufconn"
)

// pipeBytes is the buffer of an in-memory connection, each way.
const pipeBytes = 1 << 20

// Pipe makes an in-memory listener and Config.Dialer for it, by which a control
// plane in the same process is met by the same protocol as over a network.
func Pipe() (net.Listener, func(ctx context.Context, address string) (net.Conn, error)) {
	l := bufconn.Listen(pipeBytes)
	return l, func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }
}
