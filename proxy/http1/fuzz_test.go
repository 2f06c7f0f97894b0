package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// FuzzRequest compares the parser with itself on split input, with the naive model,
// and with net/http: what we accept, net/http accepts with the same meaning.
func FuzzRequest(f *testing.F) {
	for _, c := range requestCases {
		seed(f, c.in)
	}
	for _, c := range fieldCases {
		seed(f, inHead(c.in, "1"))
	}
	f.Fuzz(func(t *testing.T, in []byte) { checkRequest(t, in) })
}

// longSeed keeps the cases about limits out of the corpora: they make each run slow
// and no mutation of them says anything new.
const longSeed = 1000

func seed(f *testing.F, in string) {
	if len(in) < longSeed {
		f.Add([]byte(in))
	}
}

func checkRequest(t *testing.T, in []byte) {
	t.Helper()
	whole := requestVerdict(in, 0, nil)
	for _, step := range []int{1, 3, 16} {
		if split := requestVerdict(in, step, nil); split != whole && len(in) > 0 {
			t.Fatalf("split by %d:\n%s\nwhole:\n%s\n%q", step, split, whole, in)
		}
	}
	m, complete, ok := modelRequest(in)
	var r Request
	n, err := r.Parse(in, nil)
	if !complete && n > 0 || complete && ok != (err == nil && n > 0) {
		t.Fatalf("model: complete %t ok %t; parser: %s\n%q", complete, ok, whole, in)
	}
	if n == 0 || err != nil {
		return
	}
	got := fmt.Sprintf("%d %s %s %s %s %d %d %t", n, r.Method(), r.Path(), r.Query(), r.Host(), r.Minor, r.ContentLength, r.Chunked)
	want := fmt.Sprintf("%d %s %s %s %s %d %d %t", m.n, m.method, m.path, m.query, m.host, m.minor, m.length, m.chunked)
	if got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	sameFields(t, &r.Head, m.fields)
	if keep := !m.close && (m.minor == 1 || m.keep); keep != r.KeepAlive {
		t.Fatalf("KeepAlive %t, model %t", r.KeepAlive, keep)
	}
	sameAsNetHTTP(t, &r, in)
}

func sameFields(t *testing.T, h *Head, want [][2]string) {
	t.Helper()
	if h.Len() != len(want) {
		t.Fatalf("%d fields, model %d", h.Len(), len(want))
	}
	for i, w := range want {
		if name, value := h.Field(i); string(name) != w[0] || string(value) != w[1] {
			t.Fatalf("field %d: %q %q, model %q", i, name, value, w)
		}
	}
}

func sameAsNetHTTP(t *testing.T, r *Request, in []byte) {
	t.Helper()
	n := r.scan
	q, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(bytes.TrimPrefix(in, []byte("\r\n"))), 64<<10))
	if err != nil {
		t.Fatalf("net/http refuses: %v\n%q", err, in[:n])
	}
	host := q.Host
	if strings.HasPrefix(string(r.Target()), "/") && r.Host() == nil {
		host = ""
	}
	length := q.ContentLength
	if r.Chunked != (len(q.TransferEncoding) == 1 && q.TransferEncoding[0] == "chunked") {
		t.Fatalf("net/http: %v", q.TransferEncoding)
	}
	if !r.Chunked && length != max(r.ContentLength, 0) {
		t.Fatalf("net/http: length %d, ours %d", length, r.ContentLength)
	}
	if q.Method != string(r.Method()) || !strings.EqualFold(host, string(r.Host())) || q.RequestURI != string(r.Target()) {
		t.Fatalf("net/http: %q %q %q", q.Method, host, q.RequestURI)
	}
	var b Body
	b.Start(r.Framing())
	data, _, err := b.Next(bytes.Clone(in[n:]))
	if err != nil || !b.Done() {
		return
	}
	theirs, err := io.ReadAll(q.Body)
	if err != nil || !bytes.Equal(theirs, data) {
		t.Fatalf("net/http: body %q %v, ours %q", theirs, err, data)
	}
}

func FuzzResponse(f *testing.F) {
	for _, c := range responseCases {
		if len(c.in) < longSeed {
			f.Add([]byte(c.in), c.method == "HEAD")
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		checkResponse(t, in, method)
	})
}

func checkResponse(t *testing.T, in []byte, method string) {
	t.Helper()
	whole := responseVerdict(in, 0, method)
	for _, step := range []int{1, 3, 16} {
		if split := responseVerdict(in, step, method); split != whole && len(in) > 0 {
			t.Fatalf("split by %d:\n%s\nwhole:\n%s\n%q", step, split, whole, in)
		}
	}
	m, complete, ok := modelResponse(in, method)
	var r Response
	n, err := r.Parse(in, nil, []byte(method))
	if !complete && n > 0 || complete && ok != (err == nil && n > 0) {
		t.Fatalf("model: complete %t ok %t; parser: %s\n%q", complete, ok, whole, in)
	}
	if n == 0 || err != nil {
		return
	}
	if r.Status() != m.status || r.ContentLength != m.length || r.Chunked != m.chunked || n != m.n {
		t.Fatalf("%s\nmodel %+v", whole, m)
	}
	sameFields(t, &r.Head, m.fields)
	responseAsNetHTTP(t, &r, in, method)
	out := r.AppendHead(nil, &ResponseHead{Framing: r.FramingFor(1), ClientMinor: 1})
	var again Response
	k, err := again.Parse(out, &Limits{HeadBytes: 1 << 20, Fields: 1 << 10}, []byte(method))
	if err != nil || k != len(out) || again.Status() != r.Status() || again.framing.Kind != r.FramingFor(1).Kind {
		t.Fatalf("written %q: %v", out, err)
	}
}

func responseAsNetHTTP(t *testing.T, r *Response, in []byte, method string) {
	t.Helper()
	p, err := http.ReadResponse(bufio.NewReaderSize(bytes.NewReader(in), 64<<10), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("net/http refuses: %v\n%q", err, in[:r.scan])
	}
	want := map[FramingKind]int64{None: 0, Fixed: r.ContentLength, Chunked: -1, UntilClose: -1}[r.Framing().Kind]
	chunked := len(p.TransferEncoding) == 1 && r.Framing().Kind == Chunked
	if p.StatusCode != r.Status() || method != "HEAD" && (p.ContentLength != want || chunked != (r.Framing().Kind == Chunked)) {
		t.Fatalf("net/http: %d, length %d %v; ours %d %+v\n%q", p.StatusCode, p.ContentLength, p.TransferEncoding, r.Status(), r.Framing(), in[:r.scan])
	}
}

func FuzzChunked(f *testing.F) {
	for _, c := range bodyCases {
		seed(f, c.in)
	}
	f.Fuzz(func(t *testing.T, in []byte) { checkBody(t, in) })
}

func checkBody(t *testing.T, in []byte) {
	t.Helper()
	whole := bodyVerdict(in, 0)
	for _, step := range []int{1, 2, 7} {
		if split := bodyVerdict(in, step); split != whole {
			t.Fatalf("split by %d:\n%s\nwhole:\n%s\n%q", step, split, whole, in)
		}
	}
	data, n, trailers, complete, ok := modelBody(in)
	got, k, b, err := dechunk(in, 0)
	if done := err == nil && b.Done(); done != ok || complete && !ok && err == nil {
		t.Fatalf("model: complete %t ok %t; ours: %s\n%q", complete, ok, whole, in)
	}
	if !ok {
		return
	}
	if string(got) != data || k != n {
		t.Fatalf("%d %q, model %d %q", k, got, n, data)
	}
	sameFields(t, b.Trailers(), trailers)
	head := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	q, err := http.ReadRequest(bufio.NewReaderSize(io.MultiReader(strings.NewReader(head), bytes.NewReader(in)), 64<<10))
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err := io.ReadAll(q.Body); err != nil || string(theirs) != data {
		t.Fatalf("net/http: %q %v, ours %q", theirs, err, data)
	}
	again, _, b2, err := dechunk(rechunk(got, b.Trailers()), 0)
	if err != nil || !bytes.Equal(again, got) || b2.Trailers().Len() != len(trailers) {
		t.Fatalf("framed again: %q %v", again, err)
	}
}

func rechunk(data []byte, trailers *Head) []byte {
	var out []byte
	if len(data) > 0 {
		out = AppendChunkHead(out, len(data))
		out = append(out, data...)
		out = append(out, "\r\n"...)
	}
	return AppendLastChunk(out, trailers)
}
