package http1

import (
	"strings"
	"testing"
)

// responseCases: what an upstream may send: "kind" is how its body ends.
var responseCases = []struct{ method, in, want string }{
	{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "fixed keep"},
	{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "fixed keep"},
	{"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "chunked keep"},
	{"GET", "HTTP/1.1 200 OK\r\n\r\n", "close"},
	{"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", "fixed"},
	{"GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "fixed"},
	{"GET", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\n", "fixed keep"},
	{"GET", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", "close"},
	{"GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "502 transfer_encoding_http10"},
	{"GET", "HTTP/1.1 200\r\n\r\n", "close"},
	{"GET", "HTTP/1.1 200 \r\n\r\n", "close"},
	{"GET", "HTTP/1.1 200 \t\x80 x\r\n\r\n", "close"},
	{"GET", "HTTP/1.1 999 x\r\nContent-Length: 5\r\n\r\n", "fixed keep"},
	{"GET", "HTTP/1.1 099 x\r\n\r\n", "502 status_line"},
	{"GET", "HTTP/1.1 20 OK\r\n\r\n", "502 status_line"},
	{"GET", "HTTP/1.1 2000 OK\r\n\r\n", "502 status_line"},
	{"GET", "HTTP/1.1  200 OK\r\n\r\n", "502 status_line"},
	{"GET", "HTTP/1.1 200\tOK\r\n\r\n", "502 status_line"},
	{"GET", "HTTP/1.1 200 O\x00K\r\n\r\n", "502 field_value"},
	{"GET", "HTTP/1.1 200 OK\nA: b\r\n\r\n", "502 bare_lf"},
	{"GET", "HTTP/1.1 200 OK\rA: b\r\n\r\n", "502 bare_cr"},
	{"GET", "HTTP/2.0 200 OK\r\n\r\n", "502 version_unsupported"},
	{"GET", "http/1.1 200 OK\r\n\r\n", "502 status_line"},
	{"GET", "\r\nHTTP/1.1 200 OK\r\n\r\n", "502 status_line"},
	{"GET", "ICY 200 OK\r\n\r\n", "502 status_line"},
	{"GET", "SSH-2.0-x\r\n", "502 status_line"},
	{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "502 content_length_duplicate"},
	{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", "502 content_length_invalid"},
	{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "502 content_length_and_transfer_encoding"},
	{"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "502 transfer_encoding_invalid"},
	{"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "502 transfer_encoding_unknown"},
	{"GET", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "502 field_name_space"},
	{"GET", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "502 obs_fold"},
	{"GET", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 129) + "\r\n", "502 too_many_fields"},
	{"GET", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 64<<10) + "\r\n\r\n", "502 head_too_large"},
	{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "none keep"},
	{"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "none keep"},
	{"HEAD", "HTTP/1.1 200 OK\r\n\r\n", "none keep"},
	{"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "none keep"},
	{"GET", "HTTP/1.1 204 No Content\r\n\r\n", "none keep"},
	{"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "none keep"},
	{"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "502 content_length_and_transfer_encoding"},
	{"GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "502 content_length_and_transfer_encoding"},
	{"GET", "HTTP/1.1 100 Continue\r\n\r\n", "none keep"},
	{"GET", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", "none keep"},
	{"GET", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", "502 content_length_and_transfer_encoding"},
	{"GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "none"},
	{"GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n", "502 upgrade_invalid"},
	{"GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "502 upgrade_invalid"},
	{"GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", "502 upgrade_invalid"},
	{"GET", "HTTP/1.1 200", "more"},
	{"GET", "HTTP/1.1 200 OK\r\n", "more"},
}

func TestResponse(t *testing.T) {
	for _, c := range responseCases {
		var r Response
		n, err := r.Parse([]byte(c.in), nil, []byte(c.method))
		got := [...]string{None: "none", Fixed: "fixed", Chunked: "chunked", UntilClose: "close"}[r.Framing().Kind]
		switch {
		case err != nil:
			got = fault400(err)
		case n == 0:
			got = "more"
		case r.KeepAlive:
			got += " keep"
		}
		if got != c.want {
			t.Errorf("got %s, want %s: %s %.100q", got, c.want, c.method, c.in)
		}
		if len(c.in) < 1000 {
			checkResponse(t, []byte(c.in), c.method)
		}
	}
}

func TestFramingFor(t *testing.T) {
	for _, c := range []struct {
		kind  FramingKind
		minor int
		want  FramingKind
	}{
		{None, 0, None}, {None, 1, None}, {Fixed, 0, Fixed}, {Fixed, 1, Fixed},
		{Chunked, 0, UntilClose}, {Chunked, 1, Chunked}, {UntilClose, 0, UntilClose}, {UntilClose, 1, Chunked},
	} {
		r := Response{framing: Framing{Kind: c.kind}}
		if got := r.FramingFor(c.minor).Kind; got != c.want {
			t.Errorf("kind %d for HTTP/1.%d: got %d, want %d", c.kind, c.minor, got, c.want)
		}
	}
}
