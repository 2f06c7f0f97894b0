package http1

import (
	"bufio"
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// writeCases: a request, what changes, and the head that goes upstream. Lines are
// written with "|" for CRLF.
var writeCases = []struct {
	in   string
	o    RequestHead
	want string
}{
	{"GET /a?b HTTP/1.1|Host: a|X:  y |Accept:*/*||", RequestHead{}, "GET /a?b HTTP/1.1|Host: a|X:  y |Accept:*/*||"},
	{"GET / HTTP/1.1|Host: a||", RequestHead{}, "GET / HTTP/1.1|Host: a||"},
	{"GET / HTTP/1.1|host:a|A: b||", RequestHead{Target: []byte("/x y\r\n%41?q")}, "GET /x%20y%0D%0A%41?q HTTP/1.1|host:a|A: b||"},
	{"GET / HTTP/1.1|host:a||", RequestHead{Target: []byte("/%4%41%zz%")}, "GET /%254%41%25zz%25 HTTP/1.1|host:a||"},
	{"GET / HTTP/1.1|A: b|Host: a||", RequestHead{Host: "b:1"}, "GET / HTTP/1.1|Host: b:1|A: b||"},
	{"GET / HTTP/1.1|A: b|Host: a||", RequestHead{Host: "b\r\nX: y"}, "GET / HTTP/1.1|A: b|Host: a||"},
	{"GET / HTTP/1.1|Host: a||", RequestHead{Edits: []Edit{{Set, "Host", "c"}}, Host: "b"}, "GET / HTTP/1.1|Host: c||"},
	{"GET / HTTP/1.1|Host: a||", RequestHead{Edits: []Edit{{Remove, "host", ""}, {Add, "HOST", "b"}}}, "GET / HTTP/1.1|Host: a||"},
	{"GET / HTTP/1.0||", RequestHead{}, "GET / HTTP/1.1|Host: ||"},
	{"GET / HTTP/1.0||", RequestHead{Host: "b"}, "GET / HTTP/1.1|Host: b||"},
	{"GET http://a HTTP/1.0||", RequestHead{}, "GET / HTTP/1.1|Host: a||"},
	{"GET http://a?q HTTP/1.1|Host: A||", RequestHead{}, "GET /?q HTTP/1.1|Host: A||"},
	{"GET http://a/b?q HTTP/1.1|Host: a||", RequestHead{}, "GET /b?q HTTP/1.1|Host: a||"},
	{"OPTIONS http://a HTTP/1.1|Host: a||", RequestHead{}, "OPTIONS * HTTP/1.1|Host: a||"},
	{"OPTIONS http://a/ HTTP/1.1|Host: a||", RequestHead{}, "OPTIONS / HTTP/1.1|Host: a||"},
	// fields of the connection, RFC 9110 7.6.1
	{"GET / HTTP/1.1|Connection: close|Host: a|Keep-Alive: 5|A: b|Proxy-Connection: x|HTTP2-Settings: x||", RequestHead{}, "GET / HTTP/1.1|Host: a|A: b||"},
	{"GET / HTTP/1.1|Host: a|A: b|X-Hop: 1|C: d|connection: x-HOP||", RequestHead{}, "GET / HTTP/1.1|Host: a|A: b|C: d||"},
	{"GET / HTTP/1.1|Host: a|Connection: host, authorization, x-forwarded-for|Authorization: b|X-Forwarded-For: c||", RequestHead{}, "GET / HTTP/1.1|Host: a|Authorization: b|X-Forwarded-For: c||"},
	{"GET / HTTP/1.1|Host: a|Connection: Content-Length|Content-Length: 007||", RequestHead{Framing: Framing{Kind: Fixed, Length: 7}}, "GET / HTTP/1.1|Host: a|Content-Length: 7||"},
	{"GET / HTTP/1.1|Host: a|Connection: TE|TE: trailers||", RequestHead{}, "GET / HTTP/1.1|Host: a|TE: trailers|Connection: TE||"},
	{"GET / HTTP/1.1|Host: a|TE: deflate;q=0.5, Trailers||", RequestHead{}, "GET / HTTP/1.1|Host: a|TE: trailers|Connection: TE||"},
	{"GET / HTTP/1.1|Host: a|TE: gzip||", RequestHead{}, "GET / HTTP/1.1|Host: a||"},
	{"GET / HTTP/1.1|Host: a|TE: trailers||", RequestHead{Close: true}, "GET / HTTP/1.1|Host: a|Connection: close, TE|TE: trailers||"},
	{"GET / HTTP/1.1|Host: a|Transfer-Encoding: chunked||", RequestHead{Framing: Framing{Kind: Chunked}}, "GET / HTTP/1.1|Host: a|Transfer-Encoding: chunked||"},
	{"GET / HTTP/1.1|Host: a|Transfer-Encoding: chunked||", RequestHead{Framing: Framing{Kind: Fixed, Length: 3}}, "GET / HTTP/1.1|Host: a|Content-Length: 3||"},
	{"GET / HTTP/1.1|Host: a|Upgrade: websocket|Connection: upgrade||", RequestHead{Upgrade: true}, "GET / HTTP/1.1|Host: a|Upgrade: websocket|Connection: upgrade||"},
	{"GET / HTTP/1.1|Host: a|Upgrade: websocket|Connection: upgrade||", RequestHead{}, "GET / HTTP/1.1|Host: a||"},
	{"GET / HTTP/1.1|Host: a|Upgrade: websocket||", RequestHead{Upgrade: true}, "GET / HTTP/1.1|Host: a||"},
	{"GET / HTTP/1.1|Host: a|Upgrade: h2c|Connection: upgrade, http2-settings||", RequestHead{Upgrade: true}, "GET / HTTP/1.1|Host: a||"},
	{"GET / HTTP/1.1|Host: a|Upgrade: b, H2C|Connection: upgrade||", RequestHead{Upgrade: true}, "GET / HTTP/1.1|Host: a||"},
	{"GET / HTTP/1.0|Host: a|Upgrade: b|Connection: upgrade||", RequestHead{Upgrade: true}, "GET / HTTP/1.1|Host: a||"},
	{"POST / HTTP/1.1|Host: a|Expect: 100-continue|Content-Length: 1||", RequestHead{}, "POST / HTTP/1.1|Host: a|Expect: 100-continue||"},
	{"POST / HTTP/1.1|Host: a|Expect: 100-continue|Content-Length: 0||", RequestHead{}, "POST / HTTP/1.1|Host: a||"},
	{"POST / HTTP/1.0|Host: a|Expect: 100-continue|Content-Length: 1||", RequestHead{}, "POST / HTTP/1.1|Host: a||"},
	// edits
	{"GET / HTTP/1.1|Host: a|A: 1|B: 2|a: 3||", RequestHead{Edits: []Edit{{Set, "a", "x"}}}, "GET / HTTP/1.1|Host: a|B: 2|a: x||"},
	{"GET / HTTP/1.1|Host: a|A: 1||", RequestHead{Edits: []Edit{{Add, "a", "x"}, {Add, "a", "y"}}}, "GET / HTTP/1.1|Host: a|A: 1|a: x|a: y||"},
	{"GET / HTTP/1.1|Host: a|A: 1|B: 2||", RequestHead{Edits: []Edit{{Remove, "A", ""}}}, "GET / HTTP/1.1|Host: a|B: 2||"},
	{"GET / HTTP/1.1|Host: a|A: 1||", RequestHead{Edits: []Edit{{Set, "A", "x"}, {Add, "A", "y"}, {Remove, "a", ""}}}, "GET / HTTP/1.1|Host: a||"},
	{"GET / HTTP/1.1|Host: a||", RequestHead{Edits: []Edit{{Add, "A", "y"}, {Set, "A", "x"}}}, "GET / HTTP/1.1|Host: a|A: x||"},
	{"GET / HTTP/1.1|Host: a|A: 1||", RequestHead{Edits: []Edit{
		{Set, "Content-Length", "5"}, {Add, "transfer-encoding", "chunked"}, {Set, "Connection", "x"}, {Set, "A", "b\r\nC: d"},
		{Add, "A b", "c"}, {Add, "", "c"}, {Add, "B", " c"}, {Set, "content_length", "5"}, {Add, "TE", "x"},
	}}, "GET / HTTP/1.1|Host: a|A: 1||"},
	{"POST / HTTP/1.1|Host: a|Expect: 100-continue|Content-Length: 2||", RequestHead{Edits: []Edit{{Remove, "expect", ""}}, Framing: Framing{Kind: Fixed, Length: 2}}, "POST / HTTP/1.1|Host: a|Content-Length: 2||"},
}

func TestRequestAppendHead(t *testing.T) {
	for _, c := range writeCases {
		var r Request
		in := strings.ReplaceAll(c.in, "|", "\r\n")
		if n, err := r.Parse([]byte(in), nil); err != nil || n != len(in) {
			t.Errorf("%s: %d %v", c.in, n, err)
			continue
		}
		got := strings.ReplaceAll(string(r.AppendHead(nil, &c.o)), "\r\n", "|")
		if got != c.want {
			t.Errorf("%s %+v\ngot  %s\nwant %s", c.in, c.o, got, c.want)
		}
	}
}

func TestResponseAppendHead(t *testing.T) {
	fixed := func(n int64) Framing { return Framing{Kind: Fixed, Length: n} }
	v1 := func(f Framing) ResponseHead { return ResponseHead{Framing: f, ClientMinor: 1} }
	for _, c := range []struct {
		method, in string
		o          ResponseHead
		want       string
	}{
		{"GET", "HTTP/1.1 200 Fine|Server: x|Content-Length: 5|Date:y ||", v1(fixed(5)), "HTTP/1.1 200 Fine|Server: x|Date:y |Content-Length: 5||"},
		{"GET", "HTTP/1.0 404||", v1(Framing{Kind: Chunked}), "HTTP/1.1 404 |Transfer-Encoding: chunked||"},
		{"GET", "HTTP/1.1 200 OK||", ResponseHead{Framing: Framing{Kind: UntilClose}}, "HTTP/1.1 200 OK|Connection: close||"},
		{"GET", "HTTP/1.1 200 OK|Content-Length: 5||", ResponseHead{Framing: fixed(5)}, "HTTP/1.1 200 OK|Content-Length: 5|Connection: keep-alive||"},
		{"GET", "HTTP/1.1 200 OK|Content-Length: 5||", ResponseHead{Framing: fixed(5), ClientMinor: 1, Close: true}, "HTTP/1.1 200 OK|Content-Length: 5|Connection: close||"},
		{"GET", "HTTP/1.1 200 OK|Connection: close, x|X: y|Keep-Alive: 1|Content-Length: 0||", v1(fixed(0)), "HTTP/1.1 200 OK|Content-Length: 0||"},
		{"GET", "HTTP/1.1 200 OK|Content-Length: 5||", v1(Framing{}), "HTTP/1.1 200 OK|Content-Length: 0||"},
		{"HEAD", "HTTP/1.1 200 OK|Content-Length: 5||", v1(Framing{}), "HTTP/1.1 200 OK|Content-Length: 5||"},
		{"HEAD", "HTTP/1.1 200 OK|Transfer-Encoding: chunked||", v1(Framing{}), "HTTP/1.1 200 OK|Transfer-Encoding: chunked||"},
		{"HEAD", "HTTP/1.1 200 OK|Transfer-Encoding: chunked||", ResponseHead{}, "HTTP/1.1 200 OK|Connection: keep-alive||"},
		{"HEAD", "HTTP/1.1 200 OK||", v1(Framing{}), "HTTP/1.1 200 OK||"},
		{"GET", "HTTP/1.1 304 x|Content-Length: 5||", v1(Framing{}), "HTTP/1.1 304 x|Content-Length: 5||"},
		{"GET", "HTTP/1.1 204 x|Content-Length: 0||", v1(Framing{}), "HTTP/1.1 204 x||"},
		{"GET", "HTTP/1.1 103 x|Link: y||", ResponseHead{Close: true}, "HTTP/1.1 103 x|Link: y||"},
		{"GET", "HTTP/1.1 101 x|Connection: upgrade|Upgrade: ws|A: b||", v1(Framing{}), "HTTP/1.1 101 x|A: b|Upgrade: ws|Connection: upgrade||"},
		{"GET", "HTTP/1.1 200 OK|Content-Length: 0|A: b|Host: c||", ResponseHead{ClientMinor: 1, Framing: fixed(0), Edits: []Edit{{Set, "a", "x"}, {Add, "B", "y"}}}, "HTTP/1.1 200 OK|Host: c|a: x|B: y|Content-Length: 0||"},
	} {
		var r Response
		in := strings.ReplaceAll(c.in, "|", "\r\n")
		if n, err := r.Parse([]byte(in), nil, []byte(c.method)); err != nil || n != len(in) {
			t.Errorf("%s: %d %v", c.in, n, err)
			continue
		}
		got := strings.ReplaceAll(string(r.AppendHead(nil, &c.o)), "\r\n", "|")
		if got != c.want {
			t.Errorf("%s %s %+v\ngot  %s\nwant %s", c.method, c.in, c.o, got, c.want)
		}
	}
}

// FuzzWrite: what is written is a valid request with the same target, the framing
// that was asked for and just the fields that a list of strings would have.
func FuzzWrite(f *testing.F) {
	for _, c := range writeCases {
		for _, e := range c.o.Edits {
			f.Add([]byte(strings.ReplaceAll(c.in, "|", "\r\n")), uint8(e.Kind), e.Name, e.Value, c.o.Host, c.o.Target)
		}
		f.Add([]byte(strings.ReplaceAll(c.in, "|", "\r\n")), uint8(Add), "x", "y", c.o.Host, c.o.Target)
	}
	f.Fuzz(func(t *testing.T, in []byte, kind uint8, name, value, host string, target []byte) {
		checkWrite(t, in, &RequestHead{Host: host, Target: target, Edits: []Edit{{EditKind(kind % 3), name, value}, {Add, "x-last", "1"}}})
	})
}

func checkWrite(t *testing.T, in []byte, o *RequestHead) {
	t.Helper()
	var r, again Request
	if n, err := r.Parse(in, nil); n == 0 || err != nil || len(o.Target) == 0 && o.Target != nil || o.Target != nil && o.Target[0] != '/' {
		return
	}
	o.Framing = r.Framing()
	out := r.AppendHead(nil, o)
	if bytes.Contains(out, []byte("Host: \r\n")) {
		return // HTTP/1.0 without a host; http1 itself takes no such request
	}
	n, err := again.Parse(out, &Limits{HeadBytes: 1 << 20, Fields: 1 << 10, TargetBytes: 1 << 20})
	if err != nil || n != len(out) || again.Framing() != r.Framing() || string(again.Method()) != string(r.Method()) || again.Minor != 1 {
		t.Fatalf("%d of %d, %v: %q", n, len(out), err, out)
	}
	if o.Target == nil && (string(again.Path()) != string(r.Path()) && string(again.Path()) != "*" || string(again.Query()) != string(r.Query())) {
		t.Fatalf("%q %q became %q", r.Path(), r.Query(), out)
	}
	if _, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(out))); err != nil && o.Target == nil {
		t.Fatalf("net/http: %v %q", err, out)
	}
	if got, want := fieldList(&again.Head), modelFieldList(&r, o); !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

// fieldList are the end-to-end fields as "name: value", without Host.
func fieldList(h *Head) (list []string) {
	for i := range h.Len() {
		name, value := h.Field(i)
		lower := strings.ToLower(string(name))
		if !slices.Contains([]string{"host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "keep-alive", "proxy-connection", "http2-settings"}, lower) {
			list = append(list, lower+": "+string(value))
		}
	}
	return list
}

func modelFieldList(r *Request, o *RequestHead) []string {
	list := fieldList(&r.Head)
	if !r.ExpectContinue {
		list = without(list, "expect")
	}
	for i := range r.Len() {
		name, value := r.Field(i)
		if strings.EqualFold(string(name), "connection") {
			for _, option := range strings.Split(string(value), ",") {
				if option = strings.Trim(option, " \t"); option != "" && nominable([]byte(option)) {
					list = without(list, option)
				}
			}
		}
	}
	for _, e := range o.Edits {
		if strings.EqualFold(e.Name, "expect") {
			if e.Kind == Remove && ValidValue(e.Value) {
				list = without(list, e.Name)
			}
			continue
		}
		ours := AppendField(nil, e.Name, e.Value)
		var probe Request
		n, _ := probe.Parse(slices.Concat([]byte("GET / HTTP/1.1\r\nHost: a\r\n"), ours, []byte("\r\n")), &Limits{HeadBytes: 1 << 20})
		if n == 0 || probe.Len() != 2 || strings.Trim(e.Value, " \t") != e.Value || len(fieldList(&probe.Head)) == 0 {
			continue
		}
		if name, _ := probe.Field(1); string(name) != e.Name {
			continue // a colon in the name
		}
		if e.Kind != Add {
			list = without(list, e.Name)
		}
		if e.Kind != Remove {
			list = append(list, strings.ToLower(e.Name)+": "+e.Value)
		}
	}
	return list
}

func without(list []string, name string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return strings.HasPrefix(s, strings.ToLower(name)+": ") })
}

// Every status of an Error has its phrase (net/http keeps RFC 2616's for 414).
func TestAppendStatusLine(t *testing.T) {
	for _, c := range []struct {
		status int
		want   string
	}{{503, "HTTP/1.1 503 Service Unavailable\r\n"}, {799, "HTTP/1.1 799 \r\n"}} {
		if got := string(AppendStatusLine(nil, c.status)); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	for f := faultNone + 1; f < faults; f++ {
		if e := f.toClient().(*Error); phrase(e.Status) == "" || phrase(e.Status) != http.StatusText(e.Status) && e.Status != 414 {
			t.Errorf("%v: %d %q", e, e.Status, phrase(e.Status))
		}
	}
}
