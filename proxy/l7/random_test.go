package l7_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/culvert-mesh/culvert/proxy/l7"
)

// echo answers with what it was asked: the model that random conversations are
// compared with.
func echo(t *testing.T) netip.AddrPort {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		random := rand.New(rand.NewPCG(uint64(len(body)), 1))
		if random.IntN(8) == 0 {
			w.Header().Set("Connection", "close")
		}
		w.Header().Set("X-Asked", r.Method+" "+r.RequestURI)
		if random.IntN(2) == 0 {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		}
		for len(body) > 0 {
			n := min(len(body), 1+random.IntN(30_000))
			_, _ = w.Write(body[:n])
			if body = body[n:]; random.IntN(2) == 0 {
				_ = http.NewResponseController(w).Flush()
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().(*net.TCPAddr).AddrPort()
}

// asked is one request of a random conversation.
type asked struct {
	method, path string
	body         []byte
}

func randomRequest(random *rand.Rand, n int) (asked, []byte) {
	a := asked{method: []string{"GET", "POST", "PUT", "HEAD", "DELETE"}[random.IntN(5)], path: fmt.Sprintf("/%d", n)}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s HTTP/1.1\r\nHost: cart\r\n", a.method, a.path)
	if a.method == "POST" || a.method == "PUT" {
		a.body = make([]byte, random.IntN(1<<random.IntN(18)))
		for i := range a.body {
			a.body[i] = byte(random.Uint32())
		}
	}
	switch {
	case a.body == nil:
		out.WriteString("\r\n")
	case random.IntN(2) == 0:
		fmt.Fprintf(&out, "Content-Length: %d\r\n\r\n%s", len(a.body), a.body)
	default:
		out.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		for rest := a.body; len(rest) > 0; {
			size := min(len(rest), 1+random.IntN(5000))
			fmt.Fprintf(&out, "%x\r\n%s\r\n", size, rest[:size])
			rest = rest[size:]
		}
		out.WriteString("0\r\n\r\n")
	}
	return a, out.Bytes()
}

// TestRandomConversations: pipelined requests of all kinds, in segments of all
// sizes, are answered in order and byte for byte.
func TestRandomConversations(t *testing.T) {
	w := newWorld(t, l7.Limits{})
	w.apply(nil, at(backend, echo(t), echo(t)))
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 2))
		var script []asked
		var wire []byte
		for n := range 1 + random.IntN(12) {
			a, bytes := randomRequest(random, n)
			script, wire = append(script, a), append(wire, bytes...)
		}
		client, _ := w.dial()
		sent := make(chan error, 1)
		go func() {
			for len(wire) > 0 {
				n := min(len(wire), 1+random.IntN(1<<random.IntN(17)))
				if _, err := client.Conn().Write(wire[:n]); err != nil {
					sent <- err
					return
				}
				wire = wire[n:]
			}
			sent <- nil
		}()
		in := bufio.NewReader(client.Conn())
		for i, a := range script {
			checkEcho(t, in, a, fmt.Sprintf("seed %d request %d", seed, i))
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		client.Close()
	}
}

func checkEcho(t *testing.T, in *bufio.Reader, a asked, where string) {
	t.Helper()
	response, err := http.ReadResponse(in, &http.Request{Method: a.method})
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if got := response.Header.Get("X-Asked"); response.StatusCode != 200 || got != a.method+" "+a.path {
		t.Fatalf("%s: status %d, asked %q, want %s %s", where, response.StatusCode, got, a.method, a.path)
	}
	if sha256.Sum256(body) != sha256.Sum256(a.body) {
		t.Fatalf("%s: the body differs (%d bytes, want %d)", where, len(body), len(a.body))
	}
	if response.Close {
		t.Fatalf("%s: the connection is closed", where)
	}
}
