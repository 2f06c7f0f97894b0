package detect

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

const helloStart = "\x16\x03\x01\x02\x00\x01"

var cases = []struct {
	bytes string
	want  Protocol
	at    int // bytes after which the verdict falls
}{
	{"GET / HTTP/1.1\r\n", HTTP1, 5},
	{"PATCH /x HTTP/1.1\r\n", HTTP1, 7},
	{"\r\nGET / HTTP/1.1\r\n", HTTP1, 7},
	{"OPTIONS * HTTP/1.1\r\n", HTTP1, 18},
	{"GET http://a/ HTTP/1.1\r\n", ForwardProxy, 22},
	{"GET HTTPS://a/ HTTP/1.1\r\n", ForwardProxy, 23},
	{"CONNECT a:443 HTTP/1.1\r\n", ForwardProxy, 22},
	{"CONNECT / HTTP/1.1\r\n", HTTP1, 9},
	{"GET httpx://a/ HTTP/1.1\r\n", HTTP1, 23},
	{"SET http://a/ value\r\n", TCP, 15},
	{"GET http://" + strings.Repeat("a", Enough), ForwardProxy, Enough},
	{"PURGE /x HTTP/1.0\r\n", HTTP1, 17},
	{"M-SEARCH * HTTP/1.1\r\n", HTTP1, 19},
	{"FOO /" + strings.Repeat("a", Enough), HTTP1, Enough},
	{"FOO " + strings.Repeat("a", Enough), TCP, Enough},
	{preface, HTTP2, len(preface)},
	{"PRI * HTTP/2.0\r\n\r\nXX", TCP, 19},
	{"PRI * HTTP/1.1\r\n", HTTP1, 14},
	{helloStart + "\x00\x01\xfc\x03\x03", TLS, 6},
	{"\x16\x03\x01\x02\x00\x02", TCP, 6},
	{"\x16\x03\x01\x00\x00\x01", TCP, 6},
	{"\x16\x04", TCP, 2},
	{"\x16\x03\x05", TCP, 3},
	{"\x00\x00\x00\x08\x04\xd2\x16\x2f", TCP, 1}, // PostgreSQL's SSLRequest
	{"\x00\x00\x00\x54\x00\x03\x00\x00user", TCP, 1},
	{"*1\r\n$4\r\nPING\r\n", TCP, 3}, // Redis
	{"PING\r\n", TCP, 5},
	{"SET foo bar\r\n", TCP, 9},
	{"get key\r\n", TCP, 8}, // memcached
	{"DESCRIBE rtsp://a/b RTSP/1.0\r\n", TCP, 21},
	{"GET  / HTTP/1.1", TCP, 5},
	{"GET\t/", TCP, 4},
	{" GET /", TCP, 1},
	{"\n", TCP, 1},
	{"\rx", TCP, 2},
	{"GET * HTTP/x", TCP, 12},
	{strings.Repeat("A", maxMethod+1), TCP, maxMethod + 1},
	{"\xff", TCP, 1},
}

func TestVerdictAtEveryPrefix(t *testing.T) {
	for _, c := range cases {
		for n := range len(c.bytes) + 1 {
			want := NeedMore
			if n >= c.at {
				want = c.want
			}
			if got := Verdict([]byte(c.bytes[:n])); got != want {
				t.Errorf("Verdict(%.40q, %d bytes) = %v, want %v", c.bytes, n, got, want)
			}
		}
	}
}

func TestVerdictDoesNotAllocate(t *testing.T) {
	b := []byte("PURGE /index.html HTTP/1.1\r\n")
	if n := testing.AllocsPerRun(100, func() { Verdict(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The naive model: one regular expression per protocol, and NeedMore for what some continuation
// could still make a match, for inputs below Enough.
var (
	modelHTTP1 = regexp.MustCompile("^(\r\n)?(((GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH) /)|([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} [!-~]+ HTTP/1\\.[0-9]))")
	// What HTTP1 matches too, and a forward proxy is meant by.
	modelProxy = regexp.MustCompile("^(\r\n)?(CONNECT [^/]|[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} (?i:https?)://)")
	modelTLS   = regexp.MustCompile(`(?s)^\x16\x03[\x00-\x04](\x40\x00|[\x00-\x3f].)\x01`)
)

func model(b []byte) Protocol {
	latin := make([]rune, len(b)) // bytes as runes, so that the expressions see single bytes
	for i, c := range b {
		latin[i] = rune(c)
	}
	s := string(latin)
	switch {
	case bytes.HasPrefix(b, []byte(preface)):
		return HTTP2
	case modelHTTP1.MatchString(s) && modelProxy.MatchString(s):
		return ForwardProxy
	case modelHTTP1.MatchString(s):
		return HTTP1
	case modelTLS.MatchString(s) && (b[3] != 0 || b[4] != 0):
		return TLS
	}
	return TCP // or NeedMore
}

func FuzzVerdict(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(c.bytes))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		settled := NeedMore
		for n := range min(len(b), Enough+8) + 1 {
			got := Verdict(b[:n])
			if settled != NeedMore && got != settled {
				t.Fatalf("%q: %v became %v at %d", b, settled, got, n)
			}
			settled = got
		}
		want := model(b)
		switch {
		case len(b) >= Enough:
			if settled == NeedMore {
				t.Fatalf("%q: no verdict", b)
			}
		case want != settled && !(want == TCP && settled == NeedMore):
			t.Fatalf("%q: %v, model %v", b, settled, want)
		}
		if settled == NeedMore && !completable(b) {
			t.Fatalf("%q: waits for nothing", b)
		}
	})
}

// completable tells whether some continuation of b has a verdict that is not TCP.
func completable(b []byte) bool {
	for _, whole := range []string{preface, helloStart, helloStart[:4] + "\x01\x01", "\r\nGET /", "X / HTTP/1.1", "/ HTTP/1.1", " / HTTP/1.1", "x HTTP/1.1"} {
		for cut := range len(whole) {
			if v := Verdict(append(bytes.Clone(b), whole[cut:]...)); v != TCP && v != NeedMore {
				return true
			}
		}
	}
	return false
}
