package http1

import "bytes"

// splitTarget finds the form of the target and its parts (RFC 9112 3.2).
func (r *Request) splitTarget(b []byte) fault {
	t := r.target
	r.path = span{t.from, t.to}
	if r.hasQuery {
		r.path.to = r.query.from - 1
		r.query.to = t.to
	}
	if b[t.from] == '/' {
		return faultNone
	}
	if t.to-t.from == 1 && b[t.from] == '*' {
		// RFC 9112 3.2.4: the asterisk-form is for OPTIONS only.
		if string(r.method.of(b)) != "OPTIONS" {
			return faultTarget
		}
		return faultNone
	}
	return r.splitAbsolute(b)
}

// splitAbsolute takes http and https URIs apart (RFC 9112 3.2.2). What remains is
// authority-form without CONNECT, a relative path, or a scheme of some other proxy.
func (r *Request) splitAbsolute(b []byte) fault {
	uri := r.path.of(b)
	from := 0
	switch {
	case len(uri) > 7 && foldEqual(uri[:7], "http://"):
		from = 7
	case len(uri) > 8 && foldEqual(uri[:8], "https://"):
		from = 8
	default:
		return faultTarget
	}
	to := len(uri)
	if slash := bytes.IndexByte(uri[from:], '/'); slash >= 0 {
		to = from + slash
	}
	r.authority = span{r.path.from + from, r.path.from + to}
	r.path.from = r.authority.to
	if !validHost(r.authority.of(b)) {
		return faultTarget
	}
	return faultNone
}

// checkHost is RFC 9112 3.2: one Host in every HTTP/1.1 request. Where the
// target has an authority too the RFC lets it win; we refuse unless they are the
// same, because a server behind us may look at the other one.
func (r *Request) checkHost() fault {
	if r.hostField < 0 {
		if r.Minor >= 1 {
			return faultHostMissing
		}
		return faultNone
	}
	if r.authority.to > 0 && !foldEqual(r.authority.of(r.buf), r.value(&r.fields[r.hostField])) {
		return faultHostMismatch
	}
	return faultNone
}

// validHost is uri-host [":" port] (RFC 9110 7.2, RFC 3986 3.2.2), not empty: an
// http URI with an empty host is invalid (RFC 9110 4.2.1). A port is at most 65535.
func validHost[S string | []byte](v S) bool {
	i := 0
	if len(v) > 0 && v[0] == '[' {
		if i = literalEnd(v); i == 0 {
			return false
		}
	} else if i = nameEnd(v); i == 0 {
		return false
	}
	return i == len(v) || v[i] == ':' && validPort(v[i+1:])
}

// nameEnd is the end of the reg-name that v starts with; 0: there is none.
func nameEnd[S string | []byte](v S) int {
	for i := range len(v) {
		switch c := v[i]; {
		case classes[c]&isHost != 0:
		case c == '%' && i+2 < len(v) && classes[v[i+1]]&isHex != 0 && classes[v[i+2]]&isHex != 0:
		case c == ':':
			return i
		default:
			return 0
		}
	}
	return len(v)
}

// literalEnd is the end of the "[IPv6]" that v starts with; 0: it is not one.
// Not the whole grammar of an address: nobody reads two addresses in one.
func literalEnd[S string | []byte](v S) int {
	for i := 1; i < len(v); i++ {
		switch c := v[i]; {
		case classes[c]&isHex != 0 || c == ':' || c == '.':
		case c == ']' && i > 2:
			return i + 1
		default:
			return 0
		}
	}
	return 0
}

// validPort: *DIGIT (RFC 3986 3.2.3), up to 65535.
func validPort[S string | []byte](v S) bool {
	n := 0
	for i := range len(v) {
		if v[i] < '0' || v[i] > '9' || i == 5 {
			return false
		}
		n = n*10 + int(v[i]-'0')
	}
	return n <= 65535
}

// Target is the request-target as it came (RFC 9112 3.2): origin-form,
// absolute-form or "*".
func (r *Request) Target() []byte { return r.target.of(r.buf) }

// Path is the target's path without the query, undecoded; "/" where an
// absolute-form has none, "*" for the asterisk-form.
func (r *Request) Path() []byte {
	if r.path.from == r.path.to {
		return root
	}
	return r.path.of(r.buf)
}

// root is the path of an absolute-form without one (RFC 9110 4.2.3). Nobody writes it.
var root = []byte{'/'}

// Query is what follows the first "?" of the target, undecoded; nil: no "?".
func (r *Request) Query() []byte {
	if !r.hasQuery {
		return nil
	}
	return r.query.of(r.buf)
}

// Host is the Host field's value, checked (RFC 9110 7.2); an HTTP/1.0 request that
// has none gives the authority of its target, or nil.
func (r *Request) Host() []byte {
	switch {
	case r.hostField >= 0:
		return r.value(&r.fields[r.hostField])
	case r.authority.to > 0:
		return r.authority.of(r.buf)
	}
	return nil
}
