package http1

import (
	"bytes"
	"slices"
	"testing"
)

// hostile are bytes that some parser somewhere treats in a way of its own.
const hostile = "\x00\x01\x08\t\n\x0b\x0c\r\x1f !\"#%&'(),-./0:;<=>?@A[\\]^_`x{|}~\x7f\x80\x85\xa0\xff"

// mutants are the text with each byte deleted, doubled, replaced by and preceded by
// each hostile byte: the whole neighbourhood of a valid message.
func mutants(text string, try func([]byte)) (n int) {
	send := func(parts ...string) {
		n++
		var in []byte
		for _, p := range parts {
			in = append(in, p...)
		}
		try(in)
	}
	for i := range len(text) {
		send(text[:i], text[i+1:])
		send(text[:i+1], text[i:])
		for k := range len(hostile) {
			send(text[:i], hostile[k:k+1], text[i+1:])
			send(text[:i], hostile[k:k+1], text[i:])
		}
	}
	return n
}

func TestRequestMutants(t *testing.T) {
	n := 0
	for _, text := range []string{
		"POST /a?b HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\n\r\nabc",
		"PUT http://a/b HTTP/1.1\r\nHost:a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		"GET / HTTP/1.0\r\nConnection: keep-alive, a\r\nUpgrade: b/1\r\nExpect: 100-continue\r\n\r\n",
	} {
		n += mutants(text, func(in []byte) { checkRequest(t, in) })
	}
	t.Logf("%d requests", n)
}

func TestResponseMutants(t *testing.T) {
	n := 0
	for _, text := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
		"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
	} {
		n += mutants(text, func(in []byte) { checkResponse(t, in, "GET") })
	}
	t.Logf("%d responses", n)
}

func TestChunkedMutants(t *testing.T) {
	n := mutants("2;a=\"b\";c\r\nxy\r\n0\r\nA: b\r\n\r\nGET /", func(in []byte) { checkBody(t, in) })
	t.Logf("%d bodies", n)
}

// What is accepted and written upstream is one message, whatever the mutation: the
// strictest reading of our output consumes exactly our output.
func TestMutantsWrittenAreOneMessage(t *testing.T) {
	text := "POST http://a/b?c HTTP/1.1\r\nHost: a\r\nConnection: x, te\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n"
	mutants(text, func(in []byte) {
		checkWrite(t, in, &RequestHead{Edits: []Edit{{Set, "x-a", "b"}}})
	})
}

func TestLimits(t *testing.T) {
	lim := &Limits{HeadBytes: 64, Fields: 2, TargetBytes: 8}
	for _, c := range []struct{ in, want string }{
		{"GET /1234567 HTTP/1.1\r\nHost: a\r\n\r\n", "ok"},
		{"GET /12345678 HTTP/1.1\r\nHost: a\r\n\r\n", "414 target_too_long"},
		{"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n", "ok"},
		{"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC:\r\n\r\n", "431 too_many_fields"},
		{"GET / HTTP/1.1\r\nHost: a\r\nA: 90123456789012345678901234567\r\n\r\n", "ok"},
		{"GET / HTTP/1.1\r\nHost: a\r\nA: 901234567890123456789012345678901\r\n\r\n", "431 head_too_large"},
	} {
		for _, step := range []int{0, 1, 5} {
			if got := verdictKind(requestVerdict([]byte(c.in), step, lim)); got != c.want {
				t.Errorf("step %d: got %s, want %s: %q", step, got, c.want, c.in)
			}
		}
	}
}

func TestHeader(t *testing.T) {
	var r Request
	in := []byte("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nx-y: 1\r\na:c\r\nE:\r\n\r\n")
	if n, err := r.Parse(in, nil); n == 0 || err != nil {
		t.Fatal(err)
	}
	r.Moved(bytes.Clone(in))
	clear(in)
	for _, c := range []struct {
		name, want string
		ok         bool
	}{{"host", "a", true}, {"a", "b, c", true}, {"x-y", "1", true}, {"e", "", true}, {"z", "", false}} {
		if v, ok := r.Header(c.name); string(v) != c.want || ok != c.ok {
			t.Errorf("%s: %q %t", c.name, v, ok)
		}
	}
	if r.Len() != 5 {
		t.Errorf("%d fields", r.Len())
	}
}

func TestErrorIsFinalUntilReset(t *testing.T) {
	var r Request
	_, first := r.Parse([]byte("GET  "), nil)
	_, second := r.Parse([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), nil)
	if first == nil || first != second {
		t.Fatalf("%v, then %v", first, second)
	}
	r.Reset()
	in := []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if n, err := r.Parse(in, nil); n != len(in) || err != nil {
		t.Fatalf("after Reset: %d %v", n, err)
	}
	if n, err := r.Parse(in, nil); n != len(in) || err != nil {
		t.Fatalf("again: %d %v", n, err)
	}
}

func TestReasonsAreDistinctWords(t *testing.T) {
	var seen []string
	for f := faultNone + 1; f < faults; f++ {
		e := f.toClient().(*Error)
		if e.Reason == "" || e.Status < 400 || slices.Contains(seen, e.Reason) || f.ofUpstream().(*Error).Status != 502 {
			t.Errorf("fault %d: %+v", f, e)
		}
		seen = append(seen, e.Reason)
	}
	if faultNone.toClient() != nil || faultNone.ofUpstream() != nil {
		t.Error("no fault is an error")
	}
}
