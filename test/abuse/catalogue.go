package abuse

import (
	"fmt"
	"strings"
)

// smuggled is what an attacker hides behind a request.
const smuggled = "GET {T}/smuggled HTTP/1.1|Host: {H}||"

// refused are heads that no strict server takes. Each carries a hidden request.
func refused() (list []probe) {
	line := func(status int, head string) {
		list = append(list, probe{name: "line", send: head + "||" + smuggled, want: []int{status}})
	}
	field := func(status int, lines string) {
		list = append(list, probe{name: "field", want: []int{status},
			send: "POST {T} HTTP/1.1|Host: {H}|" + lines + "||" + "0||" + smuggled})
	}
	for _, l := range []string{
		"GET {T}", "GET  {T} HTTP/1.1|Host: {H}", "GET {T}  HTTP/1.1|Host: {H}", "GET {T} HTTP/1.1 |Host: {H}",
		" GET {T} HTTP/1.1|Host: {H}", "GET\t{T} HTTP/1.1|Host: {H}", "GET {T}\tHTTP/1.1|Host: {H}",
		"G\x00T {T} HTTP/1.1|Host: {H}", "GET {T}\x00 HTTP/1.1|Host: {H}", "GET {T}\x7f HTTP/1.1|Host: {H}",
		"GET {T}\xc3\xa9 HTTP/1.1|Host: {H}", "GET {T}#f HTTP/1.1|Host: {H}", "GET {T}%zz HTTP/1.1|Host: {H}",
		"GET {T} HTTP/1.1\nHost: {H}", "GET {T} HTTP/1.1\rHost: {H}", "GET {T} http/1.1|Host: {H}",
		"GET {T} HTTP/1|Host: {H}", "GET {T} HTTP/1.10|Host: {H}", "GET {T} x HTTP/1.1|Host: {H}",
		"GET {H}:80 HTTP/1.1|Host: {H}", "GET * HTTP/1.1|Host: {H}", "GET ftp://{H}{T} HTTP/1.1|Host: {H}",
		"GET http://other.test{T} HTTP/1.1|Host: {H}", "GET http://u@{H}{T} HTTP/1.1|Host: {H}", "GET http://{T} HTTP/1.1|Host: {H}",
		"GET {T} HTTP/1.1", "GET {T} HTTP/1.1|Host:", "GET {T} HTTP/1.1|Host: {H}|Host: {H}", "GET {T} HTTP/1.1|Host: {H}|Host: other.test",
		"GET {T} HTTP/1.1|Host: {H}, other.test", "GET {T} HTTP/1.1|Host: a b", "GET {T} HTTP/1.1|Host: {H}/x", "GET {T} HTTP/1.1|Host: u@{H}",
		"GET {T} HTTP/1.1|Host: {H}:99999", "GET {T} HTTP/1.1| Host: {H}", "||GET {T} HTTP/1.1|Host: {H}",
		"GET {T} HTTP/1.0|Transfer-Encoding: chunked",
	} {
		line(400, l)
	}
	line(505, "GET {T} HTTP/2.0|Host: {H}")
	line(505, "GET {T} HTTP/1.2|Host: {H}")
	line(505, "GET {T} HTTP/0.9|Host: {H}")
	line(501, "CONNECT {H}:80 HTTP/1.1|Host: {H}")
	line(414, "GET {T}/"+strings.Repeat("a", 16<<10)+" HTTP/1.1|Host: {H}")
	for _, l := range framingLines() {
		field(400, l)
	}
	field(501, "Transfer-Encoding: gzip, chunked")
	field(417, "Expect: the-unexpected")
	field(431, strings.Repeat("A: b|", 300)+"A: b")
	field(431, "A: "+strings.Repeat("b", 128<<10))
	return list
}

// framingLines are field lines that make where the body ends a matter of opinion,
// or that are not field lines.
func framingLines() (list []string) {
	list = []string{
		"Content-Length: 5|Content-Length: 5", "Content-Length: 0|Content-Length: 44", "Content-Length: 5, 5", "Content-Length: +5",
		"Content-Length: -5", "Content-Length: 0x5", "Content-Length: 5 5", "Content-Length:", "Content-Length: 5;", "Content-Length: 5.0",
		"Content-Length: 18446744073709551621", "Content-Length: 99999999999999999999999", "Content-Length: \xb2", "Content-Length: 5\x0b",
		"Content-Length: 5|Transfer-Encoding: chunked", "Transfer-Encoding: chunked|Content-Length: 5", "Transfer-Encoding: chunked|Content-Length: 0",
		"Transfer-Encoding: chunked|Transfer-Encoding: chunked", "Transfer-Encoding: chunked|Transfer-Encoding: identity",
		"Transfer-Encoding: identity|Transfer-Encoding: chunked", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: chunked, identity",
		"Connection: clo se", "A", ": b", "A b: c",
	}
	for _, value := range []string{
		"xchunked", "chunkedx", "chunked,", ",chunked", "chunked;q=1", "\"chunked\"", "'chunked'", "identity", "gzip", "x", "", "chun ked",
		"\x0bchunked", "chunked\x00", "\x00chunked", "chunked\x0c", "chunk\xc4\xb1ed", "\xa0chunked", "chunked\x85", "[chunked]", "chunked, ", "cow, chunked, x",
	} {
		list = append(list, "Transfer-Encoding: "+value)
	}
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "X-A"} {
		value := map[string]string{"Content-Length": "5", "Transfer-Encoding": "chunked", "X-A": "b"}[name]
		for _, shape := range []string{
			"%s : %s", "%s\t: %s", "%s\x00: %s", "%s\x0b: %s", "%s\r: %s", "%s\n: %s", "%s\x80: %s", " %s: %s", "\t%s: %s", "\x0b%s: %s", "\x00%s: %s",
			"\r%s: %s", "\n%s: %s", "%s: %s\x00", "%s: %s\rX: y", "%s: %s\nX: y", "%s:\r %s", "%s:| %s", "%s: %s|\tx", "X: y\r%s: %s", "X: y\n%s: %s",
			"X: y\x00%s: %s", "X: y| %s: %s", "%s %s", "%s=%s", "(%s): %s", "\"%s\": %s",
		} {
			if name == "X-A" && shape == "X: y| %s: %s" {
				continue // the same as another
			}
			list = append(list, fmt.Sprintf(shape, name, value))
		}
	}
	return append(list, "Content_Length: 5", "Transfer_Encoding: chunked")
}

// dribbled are some of the probes again, a byte at a time.
func dribbled(from []probe) (list []probe) {
	for i, p := range from {
		if i%4 == 0 && len(p.send) < 400 {
			p.name, p.dribble = p.name+" byte by byte", true
			list = append(list, p)
		}
	}
	return list
}

// badBodies are chunked bodies that end in an error; the head may have gone on.
func badBodies() (list []probe) {
	for _, body := range []string{
		"|x", "g|x", "-1|x", "+1|x", "0x1|x", " 1|x", "1 |x", "1_0|x", "1,1|x", "10000000000000000|x", "ffffffffffffffff|x", "8000000000000000|x",
		"1\nx|0||", "1\rx|0||", "1|x\n0||", "1|x\r0||", "1|x0||", "1|xy|0||", "2|x|0||", "1;|x|0||", "1;a\nx|0||", "1;a=|x|0||", "1;a=\"|x|0||",
		"1;a=\"\n\"|x|0||", "1;\x00|x|0||", "1;a b|x|0||", "1;a\x0b|x|0||", "1;" + strings.Repeat("a", 8<<10) + "|x|0||",
		"0|Content-Length: 44||", "0|Transfer-Encoding: chunked||", "0|Host: other.test||", "0|Connection: close||", "0|content_length: 44||",
		"0|A : b||", "0| A: b||", "0|A: b|\tc||", "0|A: b\n||", "0|A||", "0|A: \x00||", "0|\n", "0|\rx||", "0\n\n", "0|" + strings.Repeat("A: b|", 3000) + "|",
	} {
		p := probe{name: "body", partial: true, want: []int{400},
			send: "POST {T} HTTP/1.1|Host: {H}|Transfer-Encoding: chunked||" + body + smuggled}
		if strings.Contains(body, strings.Repeat("A: b|", 100)) {
			p.want = []int{431}
		}
		list = append(list, p)
	}
	return list
}
