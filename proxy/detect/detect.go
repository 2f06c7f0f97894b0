// Package detect tells a connection's protocol from the first bytes that its client sent. It owns
// that decision alone: pure functions over bytes, no I/O, no clock. Whoever peeks at the client
// (proxy) calls it from any goroutine, gives it more bytes as they come, and bounds the wait: a
// protocol in which the server speaks first never gets here with a byte.
//
// It must not know what follows from a protocol.
package detect

import "bytes"

// Protocol is a verdict.
type Protocol uint8

const (
	// NeedMore: the bytes so far fit more than one protocol. Never for Enough bytes or more.
	NeedMore Protocol = iota
	// TCP: none of the others; forward bytes.
	TCP
	// HTTP1: a request line of HTTP/1.x, or so nearly one that the answer should be HTTP's.
	HTTP1
	// ForwardProxy: HTTP/1.x to a forward proxy: CONNECT (RFC 9112 3.2.3) or an absolute-form
	// (3.2.2). Its client means whoever it dialled to go elsewhere for it.
	ForwardProxy
	// HTTP2: the connection preface of RFC 9113 3.4, sent with prior knowledge.
	HTTP2
	// TLS: a ClientHello.
	TLS
)

// Enough is the number of bytes that always suffice for a verdict other than NeedMore.
const Enough = 2048

const (
	preface   = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	maxMethod = 32
)

// String is the protocol's name: a label from a closed set.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case HTTP1:
		return "http1"
	case ForwardProxy:
		return "forward_proxy"
	case HTTP2:
		return "http2"
	case TLS:
		return "tls"
	}
	return "need_more"
}

// Verdict looks at the first bytes of a client. A verdict other than NeedMore stays the same
// however many bytes follow.
func Verdict(b []byte) Protocol {
	b = b[:min(len(b), Enough)]
	switch {
	case len(b) == 0:
		return NeedMore
	case b[0] == 0x16:
		return hello(b)
	case len(b) <= len(preface) && string(b) == preface[:len(b)]:
		if len(b) == len(preface) {
			return HTTP2
		}
		return NeedMore
	case len(b) > len(preface) && string(b[:len(preface)]) == preface:
		return HTTP2
	}
	return requestLine(b)
}

// hello recognises a TLS record (RFC 8446 5.1) of type handshake that begins with a ClientHello.
// The version says 3.1 or 3.3 in practice; any 3.x is taken.
func hello(b []byte) Protocol {
	if len(b) > 1 && b[1] != 3 || len(b) > 2 && b[2] > 4 {
		return TCP
	}
	if len(b) < 6 {
		return NeedMore
	}
	if size := int(b[3])<<8 | int(b[4]); size == 0 || size > 1<<14 || b[5] != 1 {
		return TCP
	}
	return TLS
}

// requestLine follows RFC 9112 3: method SP request-target SP HTTP-version. Many line protocols
// begin with a word, a space and an argument (Redis's inline commands, memcached, RTSP), so only a
// method of HTTP's own with a path is enough; all else has to show its version.
func requestLine(b []byte) Protocol {
	full := len(b) == Enough
	if b[0] == '\r' { // RFC 9112 2.2: one empty line before the request is to be ignored
		if len(b) < 2 {
			return NeedMore
		}
		if b[1] != '\n' {
			return TCP
		}
		b = b[2:]
	}
	method := 0
	for method < len(b) && isToken(b[method]) {
		method++
	}
	if method > maxMethod || method < len(b) && (method == 0 || b[method] != ' ') {
		return TCP
	}
	if method+1 >= len(b) {
		return NeedMore
	}
	target := b[method+1:]
	if target[0] == '/' && isKnown(b[:method]) {
		return HTTP1
	}
	toProxy := string(b[:method]) == "CONNECT" || isURI(target)
	return restOfLine(target, full, toProxy)
}

// restOfLine judges "target SP version CRLF"; full: no more bytes will be looked at; toProxy: what
// comes before is what clients of forward proxies send.
func restOfLine(b []byte, full, toProxy bool) Protocol {
	verdict := HTTP1
	if toProxy {
		verdict = ForwardProxy
	}
	size := 0
	for size < len(b) && b[size] > ' ' && b[size] < 0x7f {
		size++
	}
	switch {
	case size == 0:
		return TCP
	case size == len(b) && !full:
		return NeedMore
	case size == len(b):
		if b[0] == '/' || isURI(b) {
			return verdict // a long request-target: the codec knows what to say to it
		}
		return TCP
	case b[size] != ' ':
		return TCP
	}
	const version = "HTTP/1."
	got := b[size+1:]
	if n := min(len(got), len(version)); string(got[:n]) != version[:n] {
		return TCP
	}
	switch {
	case len(got) <= len(version) && full:
		return TCP
	case len(got) <= len(version):
		return NeedMore
	case got[len(version)] < '0' || got[len(version)] > '9':
		return TCP
	}
	return verdict
}

// isURI: an absolute-form's start. Schemes have no case (RFC 3986 3.1).
func isURI(target []byte) bool {
	return len(target) >= 7 && bytes.EqualFold(target[:7], []byte("http://")) ||
		len(target) >= 8 && bytes.EqualFold(target[:8], []byte("https://"))
}

// isKnown: the methods of RFC 9110 9.3 and PATCH (RFC 5789). With a path after one of these nothing
// else is thinkable, and the verdict falls early.
func isKnown(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH":
		return true
	}
	return false
}

// isToken is RFC 9110 5.6.2's tchar.
func isToken(c byte) bool {
	switch {
	case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return true
	}
	return bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}
