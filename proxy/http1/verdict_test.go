package http1

import (
	"bytes"
	"fmt"
	"strings"
)

// A verdict is all that the codec says of some bytes, as text: "431 reason" for an
// error, "more" where it waits, else what it read. Tests compare verdicts.

// requestVerdict parses in, given step bytes more at a time in a buffer that moves
// each time; step 0 gives all at once.
func requestVerdict(in []byte, step int, lim *Limits) string {
	var r Request
	n, err := feed(in, step, func(b []byte) (int, error) { return r.Parse(b, lim) })
	if err != nil {
		return fault400(err)
	}
	if n == 0 {
		return "more"
	}
	var s strings.Builder
	fmt.Fprintf(&s, "n=%d minor=%d %q path=%q query=%q/%t host=%q/%t length=%d chunked=%t keep=%t expect=%t te=%t upgrade=%q",
		n, r.Minor, r.Method(), r.Path(), r.Query(), r.Query() != nil, r.Host(), r.Host() != nil,
		r.ContentLength, r.Chunked, r.KeepAlive, r.ExpectContinue, r.TETrailers, r.Upgrade())
	writeFields(&s, &r.Head)
	return s.String()
}

func responseVerdict(in []byte, step int, method string) string {
	var r Response
	n, err := feed(in, step, func(b []byte) (int, error) { return r.Parse(b, nil, []byte(method)) })
	if err != nil {
		return fault400(err)
	}
	if n == 0 {
		return "more"
	}
	var s strings.Builder
	fmt.Fprintf(&s, "n=%d minor=%d status=%d reason=%q length=%d chunked=%t keep=%t upgrade=%q kind=%d",
		n, r.Minor, r.Status(), r.reason.of(r.buf), r.ContentLength, r.Chunked, r.KeepAlive, r.Upgrade(), r.Framing().Kind)
	writeFields(&s, &r.Head)
	return s.String()
}

// bodyVerdict decodes a chunked request body in pieces of step bytes.
func bodyVerdict(in []byte, step int) string {
	data, n, b, err := dechunk(in, step)
	if err != nil {
		return fmt.Sprintf("%s after %q", fault400(err), data)
	}
	if !b.Done() {
		return fmt.Sprintf("more after %q", data)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "n=%d data=%q", n, data)
	writeFields(&s, b.Trailers())
	return s.String()
}

func dechunk(in []byte, step int) (data []byte, n int, b *Body, err error) {
	b = new(Body)
	b.Start(Framing{Kind: Chunked})
	if step == 0 {
		step = max(len(in), 1)
	}
	for n < len(in) && !b.Done() && err == nil {
		piece := bytes.Clone(in[n:min(len(in), n+step)])
		var d []byte
		var k int
		d, k, err = b.Next(piece)
		data = append(data, d...)
		n += k
		if k < len(piece) && err == nil && !b.Done() {
			panic("bytes left over before the end of the body")
		}
	}
	return data, n, b, err
}

func feed(in []byte, step int, parse func([]byte) (int, error)) (n int, err error) {
	if step == 0 {
		return parse(in)
	}
	for to := 0; n == 0 && err == nil && to < len(in); {
		to = min(len(in), to+step)
		n, err = parse(bytes.Clone(in[:to]))
	}
	return n, err
}

func fault400(err error) string {
	e := err.(*Error)
	return fmt.Sprintf("%d %s", e.Status, e.Reason)
}

func writeFields(s *strings.Builder, h *Head) {
	for i := range h.Len() {
		name, value := h.Field(i)
		fmt.Fprintf(s, "\n%q=%q", name, value)
	}
}
