package peer_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/test/peer"
)

// start serves on loopback until the test ends.
func start(t *testing.T, serve func(net.Listener) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(l) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-ended; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func startHTTP(t *testing.T, s *peer.Server) string {
	addr := start(t, func(l net.Listener) error {
		err := s.Serve(l)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		return err
	})
	t.Cleanup(func() { _ = s.Close() })
	return "http://" + addr
}

func TestAnswers(t *testing.T) {
	url := startHTTP(t, &peer.Server{Name: "v1"})
	cases := []struct {
		name, target, body string
		status             int
		check              func(t *testing.T, r *http.Response, body []byte)
	}{
		{"echo", "/a?x=1", "hello", 200, func(t *testing.T, r *http.Response, body []byte) {
			var e peer.Echo
			if err := json.Unmarshal(body, &e); err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256([]byte("hello"))
			if e.Target != "/a?x=1" || e.BodyBytes != 5 || e.BodyHash != hex.EncodeToString(sum[:]) || e.Server != "v1" {
				t.Errorf("echo %+v", e)
			}
		}},
		{"status", "/?status=418", "", 418, nil},
		{"bytes", "/bytes?n=100000", "", 200, func(t *testing.T, r *http.Response, body []byte) {
			sum := sha256.Sum256(body)
			if len(body) != 100000 || hex.EncodeToString(sum[:]) != peer.PatternHash(100000) {
				t.Errorf("%d bytes of another pattern", len(body))
			}
		}},
		{"chunked with a trailer", "/bytes?n=70000&chunked=1", "", 200, func(t *testing.T, r *http.Response, body []byte) {
			if got := r.Trailer.Get("X-SHA256"); len(body) != 70000 || got != peer.PatternHash(70000) {
				t.Errorf("%d bytes, trailer %q", len(body), got)
			}
		}},
		{"body streams back", "/body", strings.Repeat("x", 1<<20), 200, func(t *testing.T, r *http.Response, body []byte) {
			if len(body) != 1<<20 {
				t.Errorf("%d bytes came back", len(body))
			}
		}},
		{"early answer", "/?early=1", strings.Repeat("x", 1<<10), 200, nil},
		{"header", "/?header=X-A:1&header=X-A:2", "", 200, func(t *testing.T, r *http.Response, body []byte) {
			if got := r.Header.Values("X-A"); !slices.Equal(got, []string{"1", "2"}) {
				t.Errorf("X-A %q", got)
			}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			resp, err := http.Post(url+c.target, "text/plain", strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != c.status {
				t.Fatalf("status %d, %v", resp.StatusCode, err)
			}
			if c.check != nil {
				c.check(t, resp, body)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	cases := []struct {
		name   string
		faults peer.Faults
		query  string
		want   func(r *peer.Result) bool
	}{
		{"healthy", peer.Faults{}, "", func(r *peer.Result) bool { return r.OK == 20 }},
		{"all fail", peer.Faults{FailShare: 1, FailStatus: 500}, "", func(r *peer.Result) bool { return r.Status[500] == 20 }},
		{"first five fail", peer.Faults{FailFirst: 5}, "", func(r *peer.Result) bool { return r.Status[503] == 5 && r.OK == 15 }},
		{"flaps every 4", peer.Faults{FlapEvery: 4}, "", func(r *peer.Result) bool { return r.Status[503] == 12 && r.OK == 8 }},
		{"resets", peer.Faults{ResetShare: 1}, "", func(r *peer.Result) bool { return r.Errors["reset"] == 20 }},
		{"closes", peer.Faults{CloseShare: 1}, "", func(r *peer.Result) bool { return r.Errors["eof"] == 20 }},
		{"truncates", peer.Faults{Truncate: true}, "", func(r *peer.Result) bool { return r.Errors["eof"] == 20 }},
		{"delays", peer.Faults{Delay: peer.Duration(3 * time.Millisecond)}, "", func(r *peer.Result) bool { return time.Duration(r.P50) >= 3*time.Millisecond }},
		{"one request resets", peer.Faults{}, "?reset=1", func(r *peer.Result) bool { return r.Errors["reset"] == 20 }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &peer.Server{Name: "v1"}
			url := startHTTP(t, s)
			s.SetFaults(c.faults)
			r, err := peer.Load{URL: url + "/" + c.query, Requests: 20, NewConnection: true}.Run(t.Context())
			if err != nil || !c.want(r) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestLoadVerifiesBodies(t *testing.T) {
	url := startHTTP(t, &peer.Server{Name: "v1"})
	for _, l := range []peer.Load{
		{URL: url + "/", Body: 300_000, Verify: true, Requests: 8, Workers: 4},
		{URL: url + "/bytes?n=300000", Verify: true, Requests: 8, Workers: 4},
	} {
		if r, err := l.Run(t.Context()); err != nil || r.OK != 8 || r.Server["v1"] != 8 {
			t.Errorf("%s: %+v, %v", l.URL, r, err)
		}
	}
	liar := start(t, func(l net.Listener) error {
		return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "wrong") }))
	})
	if r, err := (peer.Load{URL: "http://" + liar, Verify: true, Requests: 1}).Run(t.Context()); err != nil || r.Errors["corrupt"] != 1 {
		t.Errorf("a wrong body passed: %+v, %v", r, err)
	}
}

func TestLoadKeepsItsRate(t *testing.T) {
	url := startHTTP(t, &peer.Server{})
	r, err := peer.Load{URL: url, Rate: 200, Duration: 300 * time.Millisecond, Workers: 4}.Run(t.Context())
	if err != nil || r.Requests < 30 || r.Requests > 61 {
		t.Errorf("%d requests in %v at 200 per second, %v", r.Requests, time.Duration(r.Elapsed), err)
	}
}

func TestUpgradeEchoes(t *testing.T) {
	url := startHTTP(t, &peer.Server{})
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	_, _ = io.WriteString(c, "late")
	_ = c.(*net.TCPConn).CloseWrite()
	if back, err := io.ReadAll(r); err != nil || string(back) != "early late" {
		t.Errorf("echoed %q, %v", back, err)
	}
}

func TestTCP(t *testing.T) {
	cases := []struct {
		name   string
		server *peer.TCPServer
		want   string
	}{
		{"echo", &peer.TCPServer{}, "ping"},
		{"greeting, then echo", &peer.TCPServer{Greeting: "hello\n"}, "hello\nping"},
		{"quiet", &peer.TCPServer{Quiet: true}, "4\n"},
		{"once", &peer.TCPServer{Once: true}, "ping"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", start(t, c.server.Serve))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "ping")
			_ = conn.(*net.TCPConn).CloseWrite()
			if back, err := io.ReadAll(conn); err != nil || string(back) != c.want {
				t.Errorf("got %q, %v, want %q", back, err, c.want)
			}
			if c.server.Connections() != 1 || c.server.Bytes() != 4 {
				t.Errorf("counted %d connections, %d bytes", c.server.Connections(), c.server.Bytes())
			}
		})
	}
}

func TestPingPong(t *testing.T) {
	for _, once := range []bool{false, true} {
		addr := start(t, (&peer.TCPServer{Once: once}).Serve)
		r, err := peer.PingPong{Addr: addr, Connections: 2, Duration: 50 * time.Millisecond, Reconnect: once}.Run(context.Background())
		if err != nil || r.Requests < 2 || r.P50 <= 0 {
			t.Errorf("reconnect %t: %+v, %v", once, r, err)
		}
	}
}

func TestPatternIsTheSameInAnyPieces(t *testing.T) {
	whole, pieces := make([]byte, 1000), &bytes.Buffer{}
	_, _ = (&peer.Pattern{}).Read(whole)
	_, _ = io.CopyBuffer(struct{ io.Writer }{pieces}, io.LimitReader(&peer.Pattern{}, 1000), make([]byte, 7))
	if !bytes.Equal(whole, pieces.Bytes()) {
		t.Error("the pattern depends on how it is read")
	}
}

// A quantile of the histogram is within its bucket's 3 % of the true one.
func TestHistogramQuantiles(t *testing.T) {
	var h peer.Histogram
	var all []time.Duration
	for range 10000 {
		d := time.Duration(rand.ExpFloat64() * float64(time.Millisecond))
		h.Add(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999} {
		want, got := all[int(q*10000)], h.Quantile(q)
		if got < want || float64(got) > 1.04*float64(want)+1 {
			t.Errorf("quantile %v: %v, true %v", q, got, want)
		}
	}
	if h.Max() != all[len(all)-1] || h.Quantile(1) != h.Max() {
		t.Errorf("max %v, want %v", h.Max(), all[len(all)-1])
	}
}
