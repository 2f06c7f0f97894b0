package http1

// maxMethod is the longest method that is taken, in bytes; the longest
// registered one has 17 (IANA HTTP method registry).
const maxMethod = 32

// Request is one request head. The zero value is ready for Parse.
type Request struct {
	Head
	// Minor is the client's HTTP/1 minor version: 0 or 1.
	Minor int
	// ContentLength is the Content-Length in bytes; -1: none was sent.
	ContentLength int64
	// Chunked: the body is chunked.
	Chunked bool
	// KeepAlive: the client wants the connection to persist (RFC 9112 9.3).
	KeepAlive bool
	// ExpectContinue: the client waits for 100 (Continue) before it sends the
	// body (RFC 9110 10.1.1). Never set without a body or for HTTP/1.0.
	ExpectContinue bool
	// TETrailers: the client takes trailers (RFC 9110 10.1.4).
	TETrailers bool

	// offsets into the buffer, set by Parse
	method, target span
	path, query    span // within target; query without its "?"
	authority      span // of an absolute-form
	hasQuery       bool
	started        bool
}

// span is a piece of the buffer.
type span struct{ from, to int }

func (s span) of(b []byte) []byte { return b[s.from:s.to] }

// Reset makes r ready for the next request; it keeps its memory.
func (r *Request) Reset() {
	*r = Request{Head: r.Head, started: true}
	r.Head.reset(ofRequest)
}

// Parse reads a request head from the start of buf. n > 0: the head is complete
// and is the first n bytes. n == 0 and no error: call again with the same bytes
// and more after them, in the same buffer or a moved one; it goes on where it
// was. A nil lim means the defaults. After an error or a complete head call
// Reset before the next Parse.
func (r *Request) Parse(buf []byte, lim *Limits) (n int, err error) {
	if !r.started {
		r.Reset()
	}
	l := lim.orDefaults()
	r.buf = buf
	view := buf[:min(len(buf), l.HeadBytes)]
	done, bad := r.step(view, &l)
	switch {
	case bad != faultNone:
		return 0, bad.toClient()
	case done:
		return r.scan, nil
	case len(buf) >= l.HeadBytes:
		return 0, r.fail(faultHeadLarge).toClient()
	}
	return 0, nil
}

func (r *Request) step(b []byte, l *Limits) (done bool, bad fault) {
	switch {
	case r.phase == phaseFailed:
		return false, r.fault
	case r.phase == phaseDone:
		return true, faultNone
	case r.phase < phaseLine:
		if ok, bad := r.requestLine(b, l); !ok {
			return false, bad
		}
	}
	if done, bad = r.parseFields(b, l.Fields); !done {
		return false, bad
	}
	if bad = r.settle(); bad != faultNone {
		return false, r.fail(bad)
	}
	return true, faultNone
}

// requestLine reads up to the first field line (RFC 9112 3). Not ok: more bytes
// are needed, or bad.
func (r *Request) requestLine(b []byte, l *Limits) (ok bool, bad fault) {
	if r.phase == phaseStart {
		if ok, bad = r.leadingLine(b); !ok {
			return false, bad
		}
	}
	if r.phase == phaseMethod {
		if ok, bad = r.takeMethod(b); !ok {
			return false, bad
		}
	}
	if r.phase == phaseTarget || r.phase == phaseQuery {
		if ok, bad = r.takeTarget(b, l.TargetBytes); !ok {
			return false, bad
		}
	}
	return r.takeVersion(b)
}

// leadingLine skips one empty line. RFC 9112 2.2 asks to ignore at least one, for old
// clients that end a body with one too many; more are not known to be sent, and
// would be work without a bound.
func (r *Request) leadingLine(b []byte) (ok bool, bad fault) {
	if len(b) == 0 {
		return false, faultNone
	}
	at := 0
	if b[0] == '\r' {
		if len(b) == 1 {
			return false, faultNone
		}
		if b[1] != '\n' {
			return false, r.fail(faultBareCR)
		}
		at = 2
	}
	r.method.from, r.scan, r.phase = at, at, phaseMethod
	return true, faultNone
}

func (r *Request) takeMethod(b []byte) (ok bool, bad fault) {
	from := r.method.from
	i := runEnd(b[:min(len(b), from+maxMethod+1)], r.scan, isToken)
	switch {
	case i-from > maxMethod:
		return false, r.fail(faultMethodLong)
	case i == len(b):
		r.scan = i
		return false, faultNone
	case b[i] == '\n':
		return false, r.fail(faultBareLF)
	case i == from || b[i] != ' ':
		return false, r.fail(faultRequestLine)
	}
	r.method.to = i
	if string(b[from:i]) == "CONNECT" {
		return false, r.fail(faultConnect)
	}
	r.target.from, r.scan, r.phase = i+1, i+1, phaseTarget
	return true, faultNone
}

func (r *Request) takeTarget(b []byte, limit int) (ok bool, bad fault) {
	from := r.target.from
	v := b[:min(len(b), from+limit+1)] // one more: the space after the longest
	i := r.scan
	if r.phase == phaseTarget {
		if i, bad = pathEnd(v, i); bad != faultNone {
			return false, r.fail(bad)
		}
		if i < len(v) && v[i] == '?' {
			r.query.from, r.hasQuery, r.phase = i+1, true, phaseQuery
		}
	}
	if r.phase == phaseQuery {
		i = queryEnd(v, i)
	}
	switch {
	case i == len(v) || r.phase == phaseTarget && v[i] == '%':
		if len(v)-from > limit {
			return false, r.fail(faultTargetLong)
		}
		r.scan = i
		return false, faultNone
	case v[i] == '\n':
		return false, r.fail(faultBareLF)
	case v[i] != ' ' || i == from:
		return false, r.fail(faultTarget)
	}
	r.target.to, r.scan, r.phase = i, i+1, phaseVersion
	if bad = r.splitTarget(b); bad != faultNone {
		return false, r.fail(bad)
	}
	return true, faultNone
}

// pathEnd is the index of the first byte that ends the path: "?", or one that may
// not stand there. It stops at a "%" whose two digits have not all come.
func pathEnd(b []byte, i int) (int, fault) {
	for {
		i = runEnd(b, i, isPath)
		if i == len(b) || b[i] != '%' {
			return i, faultNone
		}
		// A malformed triplet is decoded in several ways out there (RFC 3986 2.1).
		for k := i + 1; k <= i+2; k++ {
			if k == len(b) {
				return i, faultNone
			}
			if classes[b[k]]&isHex == 0 {
				return i, faultTarget
			}
		}
		i += 3
	}
}

// takeVersion reads "HTTP/1.1" CRLF (RFC 9112 2.3).
func (r *Request) takeVersion(b []byte) (ok bool, bad fault) {
	at := r.scan
	n, ok := matches(b[at:], "HTTP/d.d\r\n")
	switch {
	case !ok && at+n < len(b):
		return false, r.fail(versionFault(n, b[at+n]))
	case !ok:
		return false, faultNone
	case b[at+5] != '1' || b[at+7] > '1':
		return false, r.fail(faultVersionUnsupported)
	}
	r.Minor = int(b[at+7] - '0')
	r.scan = at + n
	r.section, r.phase = r.scan, phaseLine
	return true, faultNone
}

func versionFault(at int, c byte) fault {
	switch {
	case c == '\n':
		return faultBareLF
	case at == 9:
		return faultBareCR
	}
	return faultVersion
}

// matches compares b with a pattern in which "d" is any digit: how many bytes
// agree, and whether that is the whole pattern.
func matches(b []byte, pattern string) (n int, all bool) {
	for n < len(pattern) && n < len(b) {
		c := b[n]
		if pattern[n] == 'd' && '0' <= c && c <= '9' {
			c = 'd'
		} else if pattern[n] == 'd' {
			break
		}
		if c != pattern[n] {
			break
		}
		n++
	}
	return n, n == len(pattern)
}

// settle sets what the caller reads, once the whole head is there.
func (r *Request) settle() fault {
	if bad := r.finish(r.Minor); bad != faultNone {
		return bad
	}
	if bad := r.checkHost(); bad != faultNone {
		return bad
	}
	r.ContentLength = r.length
	r.Chunked = r.has(seenCoding)
	r.KeepAlive = r.persists(r.Minor)
	r.TETrailers = r.has(seenTrailersOK) && r.Minor >= 1
	r.ExpectContinue = r.has(seenExpect) && r.Minor >= 1 && (r.Chunked || r.length > 0)
	if r.has(seenExpect) && !r.ExpectContinue {
		r.dropExpect()
	}
	return faultNone
}

// dropExpect keeps an Expect that has no meaning (RFC 9110 10.1.1: in HTTP/1.0, or
// without a body) from asking the upstream for a 100 that the client does not await.
func (r *Request) dropExpect() {
	for i := range r.fields {
		if f := &r.fields[i]; f.known == expect {
			f.drop = true
		}
	}
}

// Method is the method as it came (case-sensitive, RFC 9110 9.1). Never CONNECT.
func (r *Request) Method() []byte { return r.method.of(r.buf) }

// Upgrade is the Upgrade field's value when the client asks for it with
// Connection: upgrade in HTTP/1.1 (RFC 9110 7.8), else nil. An offer of h2c is
// as if it had not been made.
func (r *Request) Upgrade() []byte { return r.upgradeTo(r.Minor) }

// Framing is how the request's body is delimited (RFC 9112 6.3).
func (r *Request) Framing() Framing {
	switch {
	case r.Chunked:
		return Framing{Kind: Chunked}
	case r.ContentLength >= 0:
		return Framing{Kind: Fixed, Length: r.ContentLength}
	}
	return Framing{}
}
