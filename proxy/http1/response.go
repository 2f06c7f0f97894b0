package http1

// Response is one response head. The zero value is ready for Parse.
type Response struct {
	Head
	// Minor is the upstream's HTTP/1 minor version: 0 or 1.
	Minor int
	// ContentLength is the Content-Length that was sent, in bytes; -1: none. For
	// HEAD and 304 it is the length that there would have been.
	ContentLength int64
	// Chunked: Transfer-Encoding: chunked was sent.
	Chunked bool
	// KeepAlive: the upstream keeps the connection after this response's body.
	// Never set when the body ends with the connection.
	KeepAlive bool

	// set by Parse
	status  int
	reason  span // the reason phrase
	framing Framing
	started bool
}

// Reset makes r ready for the next response; it keeps its memory.
func (r *Response) Reset() {
	*r = Response{Head: r.Head, started: true}
	r.Head.reset(ofResponse)
}

// Parse reads a response head; it works like Request.Parse. method is the
// request's; it decides whether there is a body. A 1xx other than 101 is a
// complete head that another one follows: Reset and Parse again.
func (r *Response) Parse(buf []byte, lim *Limits, method []byte) (n int, err error) {
	if !r.started {
		r.Reset()
	}
	l := lim.orDefaults()
	r.buf = buf
	view := buf[:min(len(buf), l.HeadBytes)]
	done, bad := r.step(view, &l, method)
	switch {
	case bad != faultNone:
		return 0, bad.ofUpstream()
	case done:
		return r.scan, nil
	case len(buf) >= l.HeadBytes:
		return 0, r.fail(faultHeadLarge).ofUpstream()
	}
	return 0, nil
}

func (r *Response) step(b []byte, l *Limits, method []byte) (done bool, bad fault) {
	switch {
	case r.phase == phaseFailed:
		return false, r.fault
	case r.phase == phaseDone:
		return true, faultNone
	case r.phase < phaseLine:
		if ok, bad := r.statusLine(b); !ok {
			return false, bad
		}
	}
	if done, bad = r.parseFields(b, l.Fields); !done {
		return false, bad
	}
	if bad = r.settle(string(method) == "HEAD"); bad != faultNone {
		return false, r.fail(bad)
	}
	return true, faultNone
}

// statusLine reads up to the first field line (RFC 9112 4). Not ok: more bytes are
// needed, or bad.
func (r *Response) statusLine(b []byte) (ok bool, bad fault) {
	const codeEnd = len("HTTP/1.1 200")
	if r.phase == phaseStart {
		n, ok := matches(b, "HTTP/d.d ddd")
		switch {
		case !ok && n < len(b):
			return false, r.fail(faultStatusLine)
		case !ok:
			return false, faultNone
		case b[5] != '1' || b[7] > '1':
			return false, r.fail(faultVersionUnsupported)
		case b[9] == '0':
			return false, r.fail(faultStatusLine) // RFC 9110 15: 100 at least
		}
		r.Minor = int(b[7] - '0')
		r.status = int(b[9]-'0')*100 + int(b[10]-'0')*10 + int(b[11]-'0')
		r.scan, r.phase = codeEnd, phaseReason
	}
	i := valueEnd(b, r.scan)
	switch {
	// The space is a MUST for servers even without a phrase; many leave both out,
	// and nothing hangs on it.
	case i > codeEnd && b[codeEnd] != ' ':
		return false, r.fail(faultStatusLine)
	case i == len(b) || b[i] == '\r' && i+1 == len(b):
		r.scan = i
		return false, faultNone
	case b[i] != '\r' || b[i+1] != '\n':
		return false, r.fail(valueFault(b[i]))
	}
	r.reason = span{min(codeEnd+1, i), i}
	r.section, r.scan, r.phase = i+2, i+2, phaseLine
	return true, faultNone
}

// settle sets what the caller reads, once the whole head is there.
func (r *Response) settle(head bool) fault {
	if bad := r.finish(r.Minor); bad != faultNone {
		return bad
	}
	r.ContentLength = r.length
	r.Chunked = r.has(seenCoding)
	switch {
	case r.status < 200 || r.status == 204:
		// RFC 9110 8.6, RFC 9112 6.1: no framing fields here. A length of 0 is common
		// and harmless; more would be bytes that only some count as a body.
		if r.Chunked || r.length > 0 {
			return faultFraming
		}
	case head || r.status == 304:
	case r.Chunked:
		r.framing.Kind = Chunked
	case r.length >= 0:
		r.framing = Framing{Kind: Fixed, Length: r.length}
	default:
		r.framing.Kind = UntilClose
	}
	if r.status == 101 && r.upgradeTo(r.Minor) == nil {
		return faultUpgrade // RFC 9110 15.2.2, 7.8
	}
	r.framing.fromUpstream = true
	r.KeepAlive = r.persists(r.Minor) && r.framing.Kind != UntilClose && r.status != 101
	return faultNone
}

// Status is the status code, 100 to 999.
func (r *Response) Status() int { return r.status }

// Informational: 1xx and not 101; the final response follows.
func (r *Response) Informational() bool { return r.status < 200 && r.status != 101 }

// Upgrade is the Upgrade field's value of a 101 (never empty there), else nil.
func (r *Response) Upgrade() []byte {
	if r.status != 101 {
		return nil
	}
	return r.upgradeTo(r.Minor)
}

// Framing is how the response's body is delimited (RFC 9112 6.3): None for
// 1xx, 204, 304 and answers to HEAD, whatever the fields say.
func (r *Response) Framing() Framing { return r.framing }

// FramingFor is the framing to send the body on with, to a client of this
// HTTP/1 minor version: as it came, except that a client of HTTP/1.0 gets
// UntilClose for Chunked and one of HTTP/1.1 gets Chunked for UntilClose, so
// that a cut upstream cannot pass for the end of the body.
func (r *Response) FramingFor(clientMinor int) Framing {
	switch {
	case r.framing.Kind == Chunked && clientMinor == 0:
		return Framing{Kind: UntilClose}
	case r.framing.Kind == UntilClose && clientMinor >= 1:
		return Framing{Kind: Chunked}
	}
	return r.framing
}
