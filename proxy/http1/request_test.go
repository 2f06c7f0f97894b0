package http1

import "testing"

func TestSmoke(t *testing.T) {
	var r Request
	in := "POST http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, x-foo\r\nX-Foo: 1\r\nX-Bar:2 \t\r\nTransfer-Encoding: chunked\r\n\r\nrest"
	n, err := r.Parse([]byte(in), nil)
	if err != nil || n != len(in)-4 {
		t.Fatal(n, err)
	}
	t.Logf("%q", r.AppendHead(nil, &RequestHead{Framing: r.Framing(), Edits: []Edit{{Set, "x-bar", "9"}, {Add, "q", "r"}}}))
	var b Body
	b.Start(r.Framing())
	buf := []byte("5\r\nhello\r\n6;a=\"b\" ;c\r\n world\r\n0\r\nTr: x\r\n\r\nGET")
	d, n, err := b.Next(buf)
	t.Logf("%q %d %v %v %d", d, n, err, b.Done(), b.Trailers().Len())
	var p Response
	in = "HTTP/1.1 200\r\nContent-Length: 5\r\nConnection: close\r\nKeep-Alive: x\r\n\r\n"
	n, err = p.Parse([]byte(in), nil, []byte("GET"))
	if err != nil || n != len(in) {
		t.Fatal(n, err)
	}
	t.Logf("%q", p.AppendHead(nil, &ResponseHead{Framing: p.Framing(), ClientMinor: 1}))
}
