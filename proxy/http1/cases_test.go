package http1

import (
	"strings"
	"testing"
)

// requestCases: what a client may send, and what it gets: "ok", "more", or the
// status and reason of the refusal.
var requestCases = []struct{ in, want string }{
	// request line, RFC 9112 3
	{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\n\r\n", "ok"},
	{"get / HTTP/1.1\r\nHost: a\r\n\r\n", "ok"}, // another method than GET, but a method
	{"M-SEARCH * HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET /\r\n\r\n", "400 target"}, // HTTP/0.9
	{"GET /\n", "400 bare_lf"},
	{"GET\r\n\r\n", "400 request_line"},
	{"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 request_line"},
	{"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bare_lf"},
	{"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 bare_cr"},
	{" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 request_line"},
	{"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 request_line"},
	{"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "400 version"},
	{"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "400 version"},
	{"GET / HTTP/1.1\nHost: a\r\n\r\n", "400 bare_lf"},
	{"GET / HTTP/1.1\rHost: a\r\n\r\n", "400 bare_cr"},
	{"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "400 bare_cr"},
	{"GET / x HTTP/1.1\r\nHost: a\r\n\r\n", "400 version"},
	{"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", "400 request_line"},
	{"G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n", "400 request_line"},
	{"\x16\x03\x01\x02\x00", "400 request_line"}, // TLS
	{strings.Repeat("M", 32) + " / HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{strings.Repeat("M", 33) + " / HTTP/1.1\r\nHost: a\r\n\r\n", "501 method_too_long"},
	{strings.Repeat("M", 33), "501 method_too_long"},
	{"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "501 connect"},
	{"GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "400 target"},
	{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 target"},
	{"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505 version_unsupported"},
	{"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "505 version_unsupported"},
	{"GET / HTTP/0.9\r\nHost: a\r\n\r\n", "505 version_unsupported"},
	{"GET / HTTP/1\r\nHost: a\r\n\r\n", "400 version"},
	{"GET / HTTP/1.10\r\nHost: a\r\n\r\n", "400 version"},
	{"GET / HTTP/11.1\r\nHost: a\r\n\r\n", "400 version"},
	{"GET / http/1.1\r\nHost: a\r\n\r\n", "400 version"},
	{"GET / HTTP/ 1.1\r\nHost: a\r\n\r\n", "400 version"},
	{"GET / HTTP/x.1\r\nHost: a\r\n\r\n", "400 version"},
	{"GET / ICY/1.1\r\nHost: a\r\n\r\n", "400 version"},
	{"GET / HTTP/1.1", "more"},
	{"GET / HTTP/1.1\r\nHost: a\r\n", "more"},
	{"GET / HTTP/1.1\r\nHost: a\r\n\r", "more"},
	// target, RFC 9112 3.2
	{"GET /a?b=c&d HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{"GET /? HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{"GET //b/../c HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{"GET /a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{"GET /{a|b}^ HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{"GET /?q=100% HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{"GET /100% HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET /%2 HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET /?a#f HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET /?\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET /a\x00 HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET /?a\x0b HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET /a\r\nHost: a\r\n\r\n", "400 target"},
	{"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{"GET HTTP://A HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{"GET https://a?q HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", "400 host_mismatch"},
	{"GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 host_mismatch"},
	{"GET http://a/ HTTP/1.1\r\n\r\n", "400 host_missing"},
	{"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\n\r\n", "400 target"},
	{"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET gopher:a HTTP/1.1\r\nHost: a\r\n\r\n", "400 target"},
	{"GET /" + strings.Repeat("a", 8<<10-1) + " HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
	{"GET /" + strings.Repeat("a", 8<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", "414 target_too_long"},
	{"GET /" + strings.Repeat("a", 8<<10), "414 target_too_long"},
	{"GET /?" + strings.Repeat("a", 8<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", "414 target_too_long"},
	{"GET /" + strings.Repeat("a", 8<<10-2) + "%41 HTTP/1.1\r\nHost: a\r\n\r\n", "414 target_too_long"},
	// Host, RFC 9112 3.2
	{"GET / HTTP/1.1\r\n\r\n", "400 host_missing"},
	{"GET / HTTP/1.0\r\n\r\n", "ok"},
	{"GET http://a/ HTTP/1.0\r\n\r\n", "ok"},
	{"GET / HTTP/1.1\r\nHost:\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: \t \r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400 host_duplicate"},
	{"GET / HTTP/1.1\r\nhost: a\r\nHOST: b\r\n\r\n", "400 host_duplicate"},
	{"GET / HTTP/1.1\r\nHost: a:8080\r\n\r\n", "ok"},
	{"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", "ok"},
	{"GET / HTTP/1.1\r\nHost: a:65535\r\n\r\n", "ok"},
	{"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: a:000080\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: a:8a\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "ok"},
	{"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: []\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: a%20b\r\n\r\n", "ok"},
	{"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", "400 host_invalid"},
	{"GET / HTTP/1.1\r\nHost: a_b.c-d~1\r\n\r\n", "ok"},
}

// fieldCases: field lines between Host and the end of the head.
var fieldCases = []struct{ in, want string }{
	{"", "ok"},
	{"A: b", "ok"},
	{"A:b", "ok"},
	{"A:", "ok"},
	{"A: \t b\tc \t", "ok"},
	{"A: \x80\xff", "ok"},
	{"A: b\r\nA: c", "ok"},
	{"!#$%&'*+-.^_`|~0: b", "ok"},
	{"A : b", "400 field_name_space"},
	{"A\t: b", "400 field_name_space"},
	{"A b: c", "400 field_name_space"},
	{"A", "400 field_name"},
	{": b", "400 field_name"},
	{"A(: b", "400 field_name"},
	{"A\x00: b", "400 field_name"},
	{"A\x80: b", "400 field_name"},
	{"\"A\": b", "400 field_name"},
	{"A: b\n", "400 bare_lf"},
	{"A: b\nB: c", "400 bare_lf"},
	{"A\n: b", "400 bare_lf"},
	{"\nA: b", "400 bare_lf"},
	{"A: b\rB: c", "400 bare_cr"},
	{"A: b\r\r", "400 bare_cr"},
	{"\rA: b", "400 bare_cr"},
	{"A:\r b", "400 bare_cr"},
	{"A: b\r\n c", "400 obs_fold"},
	{"A: b\r\n\tc", "400 obs_fold"},
	{" A: b", "400 obs_fold"},
	{"A: b\x00", "400 field_value"},
	{"A: \x01", "400 field_value"},
	{"A: b\x0b", "400 field_value"},
	{"A: b\x0cc", "400 field_value"},
	{"A: \x1b[0m", "400 field_value"},
	{"A: 12345678\x7f", "400 field_value"},
	{"A: 1234567\x1f90123456789", "400 field_value"},
	// Content-Length, RFC 9110 8.6
	{"Content-Length: 0", "ok"},
	{"CONTENT-LENGTH:5", "ok"},
	{"Content-Length: 005", "ok"}, // written anew as 5
	{"Content-Length: 999999999999999999", "ok"},
	{"Content-Length: 1000000000000000000", "400 content_length_invalid"},
	{"Content-Length: 18446744073709551621", "400 content_length_invalid"},
	{"Content-Length:", "400 content_length_invalid"},
	{"Content-Length: +5", "400 content_length_invalid"},
	{"Content-Length: -0", "400 content_length_invalid"},
	{"Content-Length: 5 5", "400 content_length_invalid"},
	{"Content-Length: 5, 5", "400 content_length_invalid"},
	{"Content-Length: 5,", "400 content_length_invalid"},
	{"Content-Length: 0x5", "400 content_length_invalid"},
	{"Content-Length: 5.0", "400 content_length_invalid"},
	{"Content-Length: 1e1", "400 content_length_invalid"},
	{"Content-Length: 5_0", "400 content_length_invalid"},
	{"Content-Length: \"5\"", "400 content_length_invalid"},
	{"Content-Length: \xb2", "400 content_length_invalid"},
	{"Content-Length: 5\r\nContent-Length: 5", "400 content_length_duplicate"},
	{"Content-Length: 5\r\ncontent-length: 6", "400 content_length_duplicate"},
	{"Content-Length : 5", "400 field_name_space"},
	{"Content-Length\x00: 5", "400 field_name"},
	{"Content_Length: 5", "400 field_name"},
	{"Content-Length: 5\x00", "400 field_value"},
	{"Content-Length: 5\r\nTransfer-Encoding: chunked", "400 content_length_and_transfer_encoding"},
	{"Transfer-Encoding: chunked\r\nContent-Length: 0", "400 content_length_and_transfer_encoding"},
	// Transfer-Encoding, RFC 9112 6.1
	{"Transfer-Encoding: chunked", "ok"},
	{"transfer-ENCODING:\tCHUNKED \t", "ok"},
	{"Transfer-Encoding: gzip, chunked", "501 transfer_encoding_unknown"},
	{"Transfer-Encoding: identity, chunked", "501 transfer_encoding_unknown"},
	{"Transfer-Encoding: gzip", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: identity", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: chunked, chunked", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: chunked, gzip", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: chunked, identity", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: chunked,", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: ,chunked", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding:", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: chunked;a=b", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: xchunked", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: chunkedx", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: chunke", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: \"chunked\"", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: 'chunked'", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: chun\xc4\xb1ked", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: chunKed\x85", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: \x0bchunked", "400 field_value"},
	{"Transfer-Encoding: chunked\x00", "400 field_value"},
	{"Transfer-Encoding: \r\n chunked", "400 transfer_encoding_invalid"},
	{"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "400 transfer_encoding_duplicate"},
	{"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "400 transfer_encoding_duplicate"},
	{"Transfer-Encoding : chunked", "400 field_name_space"},
	{"Transfer-Encoding\t:chunked", "400 field_name_space"},
	{"Transfer_Encoding: chunked", "400 field_name"},
	{" Transfer-Encoding: chunked", "400 obs_fold"},
	{"X: y\rTransfer-Encoding: chunked", "400 bare_cr"},
	{"X: y\nTransfer-Encoding: chunked", "400 bare_lf"},
	// Connection, Upgrade, Expect
	{"Connection: keep-alive, , close,", "ok"},
	{"Connection:", "ok"},
	{"Connection: clo se", "400 connection_invalid"},
	{"Connection: \"close\"", "400 connection_invalid"},
	{"Connection: " + strings.Repeat(",", 31), "ok"},
	{"Connection: " + strings.Repeat(",", 32), "400 connection_invalid"},
	{strings.Repeat("Connection: a\r\n", 32) + "Connection: b", "400 connection_invalid"},
	{"Upgrade: websocket\r\nConnection: Upgrade", "ok"},
	{"Upgrade: a/1, b", "ok"},
	{"Upgrade:", "400 upgrade_invalid"},
	{"Upgrade: a/", "400 upgrade_invalid"},
	{"Upgrade: a/b/c", "400 upgrade_invalid"},
	{"Upgrade: a\r\nUpgrade: b", "400 upgrade_invalid"},
	{"Expect: 100-continue", "ok"},
	{"Expect: 100-Continue", "ok"},
	{"Expect: 100-continue, x", "417 expect_unknown"},
	{"Expect: x", "417 expect_unknown"},
	{"Expect:", "417 expect_unknown"},
	// limits
	{strings.Repeat("A: b\r\n", 126) + "A: b", "ok"},
	{strings.Repeat("A: b\r\n", 127) + "A: b", "431 too_many_fields"},
	{"A: " + strings.Repeat("b", 64<<10-32), "ok"},
	{"A: " + strings.Repeat("b", 64<<10-31), "431 head_too_large"},
	{strings.Repeat("a", 64<<10), "431 head_too_large"},
}

func verdictKind(v string) string {
	if strings.HasPrefix(v, "n=") {
		return "ok"
	}
	return v
}

func inHead(lines, version string) string {
	if lines != "" {
		lines += "\r\n"
	}
	return "GET / HTTP/1." + version + "\r\nHost: a\r\n" + lines + "\r\n"
}

func TestRequest(t *testing.T) {
	for _, c := range requestCases {
		tryRequest(t, c.in, c.want)
	}
	for _, c := range fieldCases {
		tryRequest(t, inHead(c.in, "1"), c.want)
	}
}

func tryRequest(t *testing.T, in, want string) {
	t.Helper()
	for _, step := range []int{0, 1} {
		if step == 1 && len(in) > 1000 {
			step = 97
		}
		if got := verdictKind(requestVerdict([]byte(in), step, nil)); got != want {
			t.Errorf("step %d: got %s, want %s\n%.200q", step, got, want, in)
		}
	}
	if len(in) < 1000 {
		checkRequest(t, []byte(in))
	}
}
