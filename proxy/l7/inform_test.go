package l7_test

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/l7"
	"github.com/culvert-mesh/culvert/proxy/proxytest"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

const hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"

// TestInformationalEnds: informational responses without end are a fault of the
// endpoint, which the client is told of; its connection goes on.
func TestInformationalEnds(t *testing.T) {
	for name, version := range map[string]string{"passed on": "1.1", "dropped": "1.0"} {
		t.Run(name, func(t *testing.T) {
			w, endpoint := single(t)
			client, _ := w.dial()
			client.Send("GET / HTTP/" + version + "\r\nHost: cart\r\nConnection: keep-alive\r\n\r\n")
			server := endpoint.Accept()
			server.Until("\r\n\r\n")
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for {
					if _, err := server.Conn().Write([]byte(hint)); err != nil {
						return
					}
				}
			}()
			before := client.Until("HTTP/1.1 502 ")
			if n := len(before); n > 65<<10 || version == "1.0" && n > len("HTTP/1.1 502 ") {
				t.Errorf("%d bytes came before the answer", n)
			}
			if head := client.Until("\r\n\r\n"); !strings.Contains(head, "x-culvert-reason: upstream_protocol\r\n") {
				t.Errorf("got %q", head)
			}
			client.Until("upstream_protocol\n")
			<-ended
			w.counted(requests("default", backend, 502, telemetry.UpstreamProtocol, 1))
			client.Send(get("/next"))
			second := endpoint.Accept()
			second.Expect(get("/next"))
			second.Send(strings.Repeat(hint, 1000) + ok("x")) // just below the bound
			client.Expect(strings.Repeat(hint, 1000) + ok("x"))
		})
	}
}

// TestTimeoutBehindInformational: an endpoint that stalls after a 103 is answered
// for in time, on a connection that goes on, though the policy would retry.
func TestTimeoutBehindInformational(t *testing.T) {
	for reason, edit := range map[telemetry.Reason]func(*table.ForwardInput){
		telemetry.AttemptTimeout: func(f *table.ForwardInput) { f.AttemptTimeout = time.Second },
		telemetry.RequestTimeout: func(f *table.ForwardInput) { f.RequestTimeout = time.Second },
	} {
		t.Run(reason.String(), func(t *testing.T) {
			w := newWorld(t, l7.Limits{})
			endpoint := proxytest.Listen(t)
			w.apply(forward(func(f *table.ForwardInput) {
				retrying(f)
				edit(f)
			}), at(backend, endpoint.Addr()))
			client, _ := w.dial()
			client.Send(get("/"))
			server := endpoint.Accept()
			server.Expect(get("/"))
			server.Send(hint)
			client.Expect(hint)
			w.reactor.Settle()
			w.reactor.Advance(1100 * time.Millisecond)
			head := client.Until("\r\n\r\n")
			if !strings.HasPrefix(head, "HTTP/1.1 504 ") || !strings.Contains(head, "x-culvert-reason: "+reason.String()+"\r\n") {
				t.Errorf("got %q", head)
			}
			client.Until(reason.String() + "\n")
			client.Send(get("/next"))
			second := endpoint.Accept()
			second.Expect(get("/next"))
			second.Send(ok("x"))
			client.Expect(ok("x"))
		})
	}
}
