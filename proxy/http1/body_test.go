package http1

import (
	"fmt"
	"strings"
	"testing"
)

// bodyCases: chunked bodies with what follows, and the verdict.
var bodyCases = []struct{ in, want string }{
	{"0\r\n\r\n", `n=5 data=""`},
	{"0\r\n\r\nGET", `n=5 data=""`},
	{"5\r\nhello\r\n0\r\n\r\n", `n=15 data="hello"`},
	{"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", `n=26 data="hello world"`},
	{"0000000000000005\r\nhello\r\n000\r\n\r\n", `n=32 data="hello"`},
	{"00000000000000005\r\n", `400 chunk_size after ""`},
	{"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", `n=35 data="01234567890123456789"`},
	{"f\r\n0123456789abcde\r\nF\r\n0123456789abcde\r\n0\r\n\r\n", `n=45 data="0123456789abcde0123456789abcde"`},
	{"3fffffffffffffff\r\nab", `more after "ab"`},
	{"4000000000000000\r\n", `400 chunk_size after ""`},
	{"ffffffffffffffff\r\n", `400 chunk_size after ""`},
	{"10000000000000000\r\n", `400 chunk_size after ""`},
	{"\r\n", `400 chunk_size after ""`},
	{" 5\r\nhello", `400 chunk_size after ""`},
	{"+5\r\nhello", `400 chunk_size after ""`},
	{"-5\r\nhello", `400 chunk_size after ""`},
	{"0x5\r\nhello", `400 chunk_size after ""`},
	{"g\r\n", `400 chunk_size after ""`},
	{"5_0\r\n", `400 chunk_size after ""`},
	{"5,5\r\n", `400 chunk_size after ""`},
	{"5\nhello\r\n0\r\n\r\n", `400 chunk_size after ""`},
	{"5\rhello\r\n0\r\n\r\n", `400 bare_cr after ""`},
	{"5\r\nhello\n0\r\n\r\n", `400 chunk_end after "hello"`},
	{"5\r\nhello\r0\r\n\r\n", `400 chunk_end after "hello"`},
	{"5\r\nhello0\r\n\r\n", `400 chunk_end after "hello"`},
	{"5\r\nhelloX\r\n0\r\n\r\n", `400 chunk_end after "hello"`},
	{"5\r\nhell\r\n0\r\n\r\n", `400 chunk_end after "hell\r"`},
	{"5 \r\nhello\r\n0\r\n\r\n", `400 chunk_size after ""`},
	{"5\t;a\r\nhello\r\n0\r\n\r\n", `400 chunk_size after ""`},
	{"5;a;b\r\nhello\r\n0\r\n\r\n", `n=19 data="hello"`},
	{"5;a=b ;b\r\nhello\r\n0\r\n\r\n", `n=22 data="hello"`},
	{"5;a=\"b\"\t; b\r\nhello\r\n0\r\n\r\n", `n=25 data="hello"`},
	{"5;a=b \r\nhello\r\n0\r\n\r\n", `400 chunk_extension after ""`},
	// extensions, RFC 9112 7.1.1
	{"5;a\r\nhello\r\n0;b=c\r\n\r\n", `n=21 data="hello"`},
	{"5; a = b ;c=\"d;\\\"\r\"\r\nhello\r\n", `400 chunk_extension after ""`},
	{"5; a = b ;c=\"d;\\\" \xff\"\r\nhello\r\n0\r\n\r\n", `n=34 data="hello"`},
	{"5;\r\nhello", `400 chunk_extension after ""`},
	{"5;;a\r\nhello", `400 chunk_extension after ""`},
	{"5;a=\r\nhello", `400 chunk_extension after ""`},
	{"5;=a\r\nhello", `400 chunk_extension after ""`},
	{"5;a=b=c\r\nhello", `400 chunk_extension after ""`},
	{"5;a b\r\nhello", `400 chunk_extension after ""`},
	{"5;a \r\nhello", `400 chunk_extension after ""`},
	{"5;a\nhello", `400 chunk_extension after ""`},
	{"5;a=\"\nhello", `400 chunk_extension after ""`},
	{"5;a=\"b\r\nhello", `400 chunk_extension after ""`},
	{"5;a=\"b\"c\r\nhello", `400 chunk_extension after ""`},
	{"5;a\x00\r\nhello", `400 chunk_extension after ""`},
	{"5;a=\"\\\x01\"\r\nhello", `400 chunk_extension after ""`},
	{"5;" + strings.Repeat("a", 1020) + "\r\nhello\r\n0\r\n\r\n", `n=1036 data="hello"`},
	{"5;" + strings.Repeat("a", 1021) + "\r\nhello\r\n0\r\n\r\n", `400 chunk_line_too_long after ""`},
	// trailers, RFC 9112 7.1.2, RFC 9110 6.5
	{"0\r\nA: b\r\nC:d \r\n\r\nX", "n=17 data=\"\"\n\"A\"=\"b\"\n\"C\"=\"d\""},
	{"0\r\nGrpc-Status: 0\r\nSet-Cookie: a\r\nAuthorization: b\r\n\r\n", "n=54 data=\"\"\n\"Grpc-Status\"=\"0\""},
	{"0\r\nContent-Length: 5\r\n\r\n", `400 trailer_forbidden after ""`},
	{"0\r\ncontent_length: 5\r\n\r\n", `400 trailer_forbidden after ""`},
	{"0\r\nTransfer-Encoding: chunked\r\n\r\n", `400 trailer_forbidden after ""`},
	{"0\r\nHost: b\r\n\r\n", `400 trailer_forbidden after ""`},
	{"0\r\nConnection: close\r\n\r\n", `400 trailer_forbidden after ""`},
	{"0\r\nTrailer: a\r\n\r\n", `400 trailer_forbidden after ""`},
	{"0\r\nUpgrade: a\r\n\r\n", `400 trailer_forbidden after ""`},
	{"0\r\nTE: a\r\n\r\n", `400 trailer_forbidden after ""`},
	{"0\r\nExpect: a\r\n\r\n", `400 trailer_forbidden after ""`},
	{"0\r\n A: b\r\n\r\n", `400 obs_fold after ""`},
	{"0\r\nA: b\r\n c\r\n\r\n", `400 obs_fold after ""`},
	{"0\r\nA : b\r\n\r\n", `400 field_name_space after ""`},
	{"0\r\nA: b\n\r\n", `400 bare_lf after ""`},
	{"0\r\nA: b\x00\r\n\r\n", `400 field_value after ""`},
	{"0\r\n\n", `400 bare_lf after ""`},
	{"0\r\n\rX", `400 bare_cr after ""`},
	{"0\r\nGET / HTTP/1.1\r\n\r\n", `400 field_name_space after ""`},
	{"0\r\n" + strings.Repeat("A: b\r\n", 64) + "\r\n", "n=389"},
	{"0\r\n" + strings.Repeat("A: b\r\n", 65) + "\r\n", `400 too_many_fields`},
	{"0\r\nA: " + strings.Repeat("b", 8<<10) + "\r\n\r\n", `431 trailers_too_large after ""`},
	{"", `more after ""`},
	{"5", `more after ""`},
	{"5\r\nhel", `more after "hel"`},
	{"0\r\n", `more after ""`},
	{"0\r\nA: b\r\n", `more after ""`},
}

func TestChunked(t *testing.T) {
	for _, c := range bodyCases {
		if strings.Contains(c.want, "too_many_fields") {
			c.want = "431 too_many_fields"
		}
		for _, step := range []int{0, 1, 3} {
			if got := bodyVerdict([]byte(c.in), step); !strings.HasPrefix(got, c.want) {
				t.Errorf("step %d: got %s, want %s\n%.200q", step, got, c.want, c.in)
			}
		}
		checkBody(t, []byte(c.in))
	}
}

func TestChunkedManySmallChunksComeAsOneSpan(t *testing.T) {
	in := strings.Repeat("1\r\nx\r\n", 1000) + "0\r\n\r\n"
	var b Body
	b.Start(Framing{Kind: Chunked})
	data, n, err := b.Next([]byte(in))
	if string(data) != strings.Repeat("x", 1000) || n != len(in) || err != nil || !b.Done() {
		t.Fatalf("%d bytes, n %d of %d, %v", len(data), n, len(in), err)
	}
}

func TestBodyFraming(t *testing.T) {
	up := Framing{Kind: UntilClose, fromUpstream: true}
	for _, c := range []struct {
		f                    Framing
		in, data             string
		done                 bool
		eof                  string
		leftBefore, leftNext int64
	}{
		{Framing{}, "abc", "", true, "ok", 0, 0},
		{Framing{Kind: Fixed}, "abc", "", true, "ok", 0, 0},
		{Framing{Kind: Fixed, Length: 2}, "abc", "ab", true, "ok", 2, 0},
		{Framing{Kind: Fixed, Length: 5}, "abc", "abc", false, "400 body_cut", 5, 2},
		{Framing{Kind: Fixed, Length: 5, fromUpstream: true}, "abc", "abc", false, "502 body_cut", 5, 2},
		{Framing{Kind: Chunked}, "3\r\nabc", "abc", false, "400 body_cut", -1, -1},
		{Framing{Kind: Chunked, fromUpstream: true}, "3\r\nabc\r\n0\r\n", "abc", false, "502 body_cut", -1, -1},
		{up, "abc", "abc", false, "ok", -1, -1},
	} {
		var b Body
		b.Start(c.f)
		before := b.Remaining()
		data, _, err := b.Next([]byte(c.in))
		got := fmt.Sprint(string(data), b.Done(), before, b.Remaining(), err)
		want := fmt.Sprint(c.data, c.done, c.leftBefore, c.leftNext, nil)
		eof := "ok"
		if e := b.EOF(); e != nil {
			eof = fault400(e)
		}
		if got != want || eof != c.eof || (eof == "ok") != b.Done() {
			t.Errorf("%+v: got %s %s, want %s %s", c.f, got, eof, want, c.eof)
		}
	}
}

func TestBodyErrorIsFinal(t *testing.T) {
	var b Body
	b.Start(Framing{Kind: Chunked, fromUpstream: true})
	data, _, err := b.Next([]byte("1\r\naX"))
	if string(data) != "a" || fault400(err) != "502 chunk_end" {
		t.Fatalf("%q %v", data, err)
	}
	if _, n, again := b.Next([]byte("\r\n0\r\n\r\n")); again != err || n != 0 || b.Done() {
		t.Fatalf("%d %v", n, again)
	}
	b.Start(Framing{Kind: Chunked})
	if _, _, err := b.Next([]byte("0\r\n\r\n")); err != nil || !b.Done() {
		t.Fatalf("after Start: %v", err)
	}
}
