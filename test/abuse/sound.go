package abuse

import "strings"

// accepted are messages at the edge of the grammar: they must go through, as
// exactly one request, with what follows it answered on its own.
func accepted() []probe {
	const head = "{T} HTTP/1.1|Host: {H}|"
	one := func(name, send string, seen ...string) probe {
		return probe{name: name, send: send, want: []int{200}, open: true, seen: seen}
	}
	byByte := func(p probe) probe {
		p.name, p.dribble = p.name+" byte by byte", true
		return p
	}
	list := []probe{
		one("plain", "GET "+head+"|", "GET {T}"),
		one("empty line first", "|GET "+head+"|", "GET {T}"),
		one("absolute form", "GET http://{H}{T} HTTP/1.1|Host: {H}||", "GET {T}"),
		one("head", "HEAD "+head+"|", "HEAD {T}"),
		one("get with a body", "GET "+head+"Content-Length: 5||hello", "GET {T} hello"),
		one("a body that is a request", "POST "+head+"Content-Length: 18||GET /x HTTP/1.1\r\n ", "POST {T} GET /x HTTP/1.1"),
		one("length with zeros", "POST "+head+"Content-Length: 0005||hello", "POST {T} hello"),
		one("tab and spaces around", "POST "+head+"Content-Length:\t 5 \t||hello", "POST {T} hello"),
		one("chunked", "POST "+head+"Transfer-Encoding: CHUNKED||5|hello|1| |5|world|0||", "POST {T} hello world"),
		one("chunk extensions", "POST "+head+"Transfer-Encoding: chunked||5;a;b=c ; d=\"e;f\"|hello|0;x||", "POST {T} hello"),
		one("trailers", "POST "+head+"Transfer-Encoding: chunked||0005|hello|000|A: b|C: d||", "POST {T} hello"),
		one("tiny chunks", "POST "+head+"Transfer-Encoding: chunked||"+strings.Repeat("1|x|", 500)+"0||", "POST {T} "+strings.Repeat("x", 500)),
		one("connection names the framing", "POST "+head+"Connection: content-length|Content-Length: 5||hello", "POST {T} hello"),
		one("connection names the host", "GET "+head+"Connection: host||", "GET {T}"),
		one("connection names chunked", "POST "+head+"Connection: transfer-encoding|Transfer-Encoding: chunked||5|hello|0||", "POST {T} hello"),
		one("h2c", "GET "+head+"Connection: Upgrade, HTTP2-Settings|Upgrade: h2c|HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA||", "GET {T}"),
		one("upgrade refused", "GET "+head+"Connection: Upgrade|Upgrade: websocket||", "GET {T}"),
		one("expect", "POST "+head+"Expect: 100-continue|Content-Length: 5||hello", "POST {T} hello"),
		one("obs-text", "GET "+head+"A: \xff\x80||", "GET {T}"),
		{name: "http 1.0", send: "GET {T} HTTP/1.0||", want: []int{200}, seen: []string{"GET {T}"}},
		{name: "http 1.0 kept", send: "GET {T} HTTP/1.0|Connection: keep-alive||", want: []int{200}, open: true, seen: []string{"GET {T}"}},
		{name: "close", send: "GET " + head + "Connection: close||" + smuggled, want: []int{200}, seen: []string{"GET {T}"}},
		{name: "pipelined", send: "GET " + head + "|" + smuggled, want: []int{200, 200}, open: true, seen: []string{"GET {T}", "GET {T}/smuggled"}},
	}
	for _, p := range list[:12] {
		list = append(list, byByte(p))
	}
	return list
}

// desyncs are sequences in which one side might lose step.
func desyncs() []probe {
	const head = "{T} HTTP/1.1|Host: {H}|"
	return []probe{
		{name: "error after a good one", send: "GET " + head + "|GET {T}/smuggled HTTP/1.1|Host : {H}||" + smuggled,
			want: []int{200, 400}, seen: []string{"GET {T}"}},
		{name: "body longer than its length", send: "POST " + head + "Content-Length: 3||abcGET {T}/smuggled HTTP/1.1\nHost: {H}||" + smuggled,
			want: []int{200, 400}, seen: []string{"POST {T} abc"}},
		{name: "bytes after the last chunk", send: "POST " + head + "Transfer-Encoding: chunked||1|x|0||\x00" + smuggled,
			want: []int{200, 400}, seen: []string{"POST {T} x"}},
		{name: "two empty lines between", send: "GET " + head + "|" + "||" + smuggled, want: []int{200, 400}, seen: []string{"GET {T}"}},
		{name: "upgrade answered by something else", send: "GET " + head + "Connection: upgrade|Upgrade: websocket||" + smuggled,
			want: []int{200, 200}, open: true, seen: []string{"GET {T}", "GET {T}/smuggled"}},
		{name: "answered before the body", send: "POST " + head + "Content-Length: 60||" + strings.Repeat("x", 60),
			reply: "{early}HTTP/1.1 200 OK|Content-Length: 2||ok", want: []int{200}, either: true, partial: true,
			seen: []string{"POST {T} " + strings.Repeat("x", 60)}},
		{name: "answered before a body that never ends", send: "POST " + head + "Content-Length: 999||" + smuggled,
			reply: "{early}HTTP/1.1 200 OK|Content-Length: 2||ok", want: []int{200}, partial: true},
		{name: "switched before the body", send: "POST " + head + "Connection: upgrade|Upgrade: x|Content-Length: 999||" + smuggled,
			reply: "{early}HTTP/1.1 101 Switching Protocols|Connection: upgrade|Upgrade: x||smuggled", want: []int{502}, partial: true},
	}
}

// badReplies are answers that no strict client takes.
func badReplies() (list []probe) {
	const get = "GET {T} HTTP/1.1|Host: {H}||"
	bad := func(reply string) {
		list = append(list, probe{name: "reply", send: get, reply: reply + "{close}", want: []int{502}, seen: []string{"GET {T}"}, either: true})
	}
	for _, r := range []string{
		"nonsense||", "HTTP/2.0 200 OK||", "HTTP/1.1 20 OK||", "HTTP/1.1 2000 OK||", "HTTP/1.1 200\tOK||", "HTTP/1.1  200 OK||", "http/1.1 200 OK||",
		"HTTP/1.1 200 OK\nContent-Length: 0||", "HTTP/1.1 200 O\x00K||", "HTTP/1.1 200 OK|A : b||", "HTTP/1.1 200 OK|A: b| c||", "HTTP/1.1 200 OK| A: b||",
		"HTTP/1.1 200 OK|A: b\rC: d||", "HTTP/1.1 200 OK|A: b\nC: d||", "HTTP/1.1 200 OK|A: \x00||",
		"HTTP/1.1 200 OK|Content-Length: 1|Content-Length: 1||x", "HTTP/1.1 200 OK|Content-Length: 1, 1||x", "HTTP/1.1 200 OK|Content-Length: -1||",
		"HTTP/1.1 200 OK|Content-Length: 1|Transfer-Encoding: chunked||1|x|0||", "HTTP/1.1 200 OK|Transfer-Encoding: gzip||x",
		"HTTP/1.1 200 OK|Transfer-Encoding: chunked|Transfer-Encoding: chunked||0||", "HTTP/1.0 200 OK|Transfer-Encoding: chunked||0||",
		"HTTP/1.1 204 No Content|Content-Length: 8||smuggled", "HTTP/1.1 101 Switching Protocols|Connection: upgrade|Upgrade: h2c||smuggled",
		"HTTP/1.1 101 Switching Protocols|Connection: upgrade|Upgrade: websocket||smuggled", // nobody asked
		"HTTP/1.1 200 OK|" + strings.Repeat("A: b|", 300) + "|", "HTTP/1.1 200 OK|A: " + strings.Repeat("b", 128<<10) + "||", "",
	} {
		bad(r)
	}
	cut := func(reply string) {
		list = append(list, probe{name: "reply cut", send: get, reply: reply + "{close}", want: []int{200}, cut: true, seen: []string{"GET {T}"}})
	}
	cut("HTTP/1.1 200 OK|Content-Length: 9||abc")
	for _, body := range []string{"", "5|abc", "g|", "3|abcd|0||", "3\nabc|0||", "3;\"|abc|0||", "3|abc|", "3|abc|0|", "3|abc|0|Content-Length: 5||", "3|abc|0|A : b||"} {
		cut("HTTP/1.1 200 OK|Transfer-Encoding: chunked||" + body)
	}
	// A whole response with another one behind it: the next client must not get that.
	const poison = "HTTP/1.1 200 OK|Content-Length: 8||smuggled"
	for _, r := range []string{
		"HTTP/1.1 200 OK|Content-Length: 2||ok", "HTTP/1.1 200 OK|Transfer-Encoding: chunked||2|ok|0||", "HTTP/1.1 200 OK|Content-Length: 0||",
		"HTTP/1.1 200 OK|Connection: close|Content-Length: 2||ok",
	} {
		list = append(list, probe{name: "reply with another behind", send: get, reply: r + poison, want: []int{200}, either: true, seen: []string{"GET {T}"}})
	}
	return append(list,
		probe{name: "no content with a body behind", send: get, reply: "HTTP/1.1 204 No Content||" + poison, want: []int{204}, either: true, seen: []string{"GET {T}"}},
		probe{name: "head answered with a body", send: "HEAD {T} HTTP/1.1|Host: {H}||", reply: "HTTP/1.1 200 OK|Content-Length: 43||" + poison, want: []int{200}, either: true, seen: []string{"HEAD {T}"}},
		probe{name: "not modified with a body", send: get, reply: "HTTP/1.1 304 Not Modified|Content-Length: 43||" + poison, want: []int{304}, either: true, seen: []string{"GET {T}"}},
		probe{name: "informational first", send: get, reply: "HTTP/1.1 103 Early Hints|Link: </x>||HTTP/1.1 100 Continue||HTTP/1.1 200 OK|Content-Length: 2||ok", want: []int{200}, either: true, seen: []string{"GET {T}"}},
	)
}
