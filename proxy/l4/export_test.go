package l4

import (
	"net"

	"github.com/culvert-mesh/culvert/proxy/reactor"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// Pipe runs a pipe to its end. In a coroutine, which it holds: tests
// read better so. The product calls Start.
func Pipe(c Config) Result {
	var result Result
	var ended reactor.Signal
	loop, over := c.Client.Loop(), false
	p := Start(c, func(r Result) {
		result, over = r, true
		ended.Set()
	})
	for !over {
		if !ended.Wait(loop) && !over {
			p.fail(telemetry.Draining, net.ErrClosed)
		}
	}
	return result
}
