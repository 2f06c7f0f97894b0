package http1

import (
	"strings"
	"testing"
)

const (
	wrkRequest  = "GET /api/v1/items HTTP/1.1\r\nHost: 10.96.0.10:8080\r\n\r\n"
	curlRequest = "GET /api/v1/items?page=2 HTTP/1.1\r\nHost: api.default.svc.cluster.local:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"
	browser     = "GET /static/app/main.3f2c81ab.js?v=20260801 HTTP/1.1\r\n" +
		"Host: shop.example.com\r\n" +
		"Connection: keep-alive\r\n" +
		"sec-ch-ua: \"Chromium\";v=\"138\", \"Not=A?Brand\";v=\"24\", \"Google Chrome\";v=\"138\"\r\n" +
		"sec-ch-ua-mobile: ?0\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36\r\n" +
		"sec-ch-ua-platform: \"Linux\"\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
		"Sec-Fetch-Site: same-origin\r\n" +
		"Referer: https://shop.example.com/catalogue?page=2&sort=price\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n" +
		"Cookie: session=8d1f0c52a1f84c51b3f3c0c8a5c0e7d1; theme=dark; consent=1\r\n\r\n"
	nginxResponse = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 16:00:00 GMT\r\n" +
		"Content-Type: application/json\r\nContent-Length: 612\r\nConnection: keep-alive\r\nETag: \"64b8f2a1-264\"\r\nAccept-Ranges: bytes\r\n\r\n"
)

func BenchmarkRequestParse(b *testing.B) {
	for _, c := range []struct{ name, in string }{{"wrk", wrkRequest}, {"curl", curlRequest}, {"browser", browser}} {
		b.Run(c.name, func(b *testing.B) {
			in := []byte(c.in)
			var r Request
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				r.Reset()
				if n, err := r.Parse(in, nil); n != len(in) {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkResponseParse(b *testing.B) {
	in := []byte(nginxResponse)
	var r Response
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		if n, err := r.Parse(in, nil, []byte("GET")); n != len(in) {
			b.Fatal(err)
		}
	}
}

func BenchmarkRequestAppendHead(b *testing.B) {
	edits := []Edit{{Set, "X-Request-Source", "mesh"}, {Add, "X-Forwarded-Proto", "http"}, {Remove, "Referer", ""}}
	for _, c := range []struct {
		name, in string
		edits    []Edit
	}{{"curl", curlRequest, nil}, {"browser", browser, nil}, {"browser edits", browser, edits}} {
		b.Run(c.name, func(b *testing.B) {
			var r Request
			if n, err := r.Parse([]byte(c.in), nil); n == 0 {
				b.Fatal(err)
			}
			out := make([]byte, 0, 4096)
			o := RequestHead{Framing: r.Framing(), Edits: c.edits}
			b.ReportAllocs()
			for b.Loop() {
				out = r.AppendHead(out[:0], &o)
			}
		})
	}
}

func BenchmarkResponseAppendHead(b *testing.B) {
	var r Response
	if n, err := r.Parse([]byte(nginxResponse), nil, nil); n == 0 {
		b.Fatal(err)
	}
	out := make([]byte, 0, 4096)
	o := ResponseHead{Framing: r.Framing(), ClientMinor: 1}
	b.ReportAllocs()
	for b.Loop() {
		out = r.AppendHead(out[:0], &o)
	}
}

func BenchmarkChunked(b *testing.B) {
	for _, c := range []struct{ name, in string }{
		{"1B chunks", strings.Repeat("1\r\nx\r\n", 1000) + "0\r\n\r\n"},
		{"16KiB chunks", strings.Repeat("4000\r\n"+strings.Repeat("x", 16<<10)+"\r\n", 4) + "0\r\n\r\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			in := []byte(c.in)
			work := make([]byte, len(in))
			var body Body
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				copy(work, in)
				body.Start(Framing{Kind: Chunked})
				if _, n, err := body.Next(work); n != len(in) {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDribble is a head that comes byte by byte: the cost of each byte.
func BenchmarkDribble(b *testing.B) {
	in := []byte(browser)
	var r Request
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		for i := range in {
			if _, err := r.Parse(in[:i+1], nil); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(in)), "ns/byte")
}

func TestNothingAllocates(t *testing.T) {
	var r Request
	var p Response
	var body Body
	in, resp := []byte(browser), []byte(nginxResponse)
	absolute := []byte("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n")
	chunks := []byte("5\r\nhello\r\n0\r\nA: b\r\n\r\n")
	work := make([]byte, len(chunks))
	out := make([]byte, 0, 4096)
	once := func() {
		r.Reset()
		p.Reset()
		r.Parse(in, nil)
		p.Parse(resp, nil, r.Method())
		out = r.AppendHead(out[:0], &RequestHead{Framing: r.Framing(), Edits: []Edit{{Set, "X-A", "b"}}})
		out = p.AppendHead(out[:0], &ResponseHead{Framing: p.FramingFor(1), ClientMinor: 1})
		r.Header("user-agent")
		r.Reset()
		r.Parse(absolute, nil)
		if string(r.Path()) != "/" {
			t.Error("want the root")
		}
		copy(work, chunks)
		body.Start(Framing{Kind: Chunked})
		body.Next(work)
		r.Reset()
		if _, err := r.Parse(in[4:], nil); err == nil {
			t.Error("want an error")
		}
	}
	once()
	if n := testing.AllocsPerRun(100, once); n != 0 {
		t.Errorf("%v allocations a round, want 0", n)
	}
}
