package http1

// known is a field that the codec itself acts on.
type known uint8

const (
	other known = iota
	host
	contentLength
	transferEncoding
	connection
	upgrade
	te
	expect
	trailer
	// hopByHop ends at the next hop and says nothing to us: Keep-Alive,
	// Proxy-Connection (RFC 9110 7.6.1), HTTP2-Settings (RFC 7540 3.2.1).
	hopByHop
	// lookalike is a framing field spelled with "_": a server behind a CGI-like
	// interface reads it as the real one.
	lookalike
)

// recognise names a field by its length, then its first byte, then the rest.
func recognise[S string | []byte](name S) known {
	switch len(name) {
	case 2:
		return when(te, name, "te")
	case 4:
		return when(host, name, "host")
	case 6:
		return when(expect, name, "expect")
	case 7:
		if name[0]|0x20 == 'u' {
			return when(upgrade, name, "upgrade")
		}
		return when(trailer, name, "trailer")
	case 10:
		if name[0]|0x20 == 'k' {
			return when(hopByHop, name, "keep-alive")
		}
		return when(connection, name, "connection")
	case 14:
		switch {
		case name[0]|0x20 == 'h':
			return when(hopByHop, name, "http2-settings")
		case name[7] == '_':
			return when(lookalike, name, "content_length")
		}
		return when(contentLength, name, "content-length")
	case 16:
		return when(hopByHop, name, "proxy-connection")
	case 17:
		if name[8] == '_' {
			return when(lookalike, name, "transfer_encoding")
		}
		return when(transferEncoding, name, "transfer-encoding")
	}
	return other
}

func when[S string | []byte](k known, name S, lower string) known {
	if name[0]|0x20 == lower[0] && foldEqual(name, lower) {
		return k
	}
	return other
}

// ofConnection: the field ends at this hop or is framing, which is written anew.
func (k known) ofConnection() bool {
	switch k {
	case contentLength, transferEncoding, connection, upgrade, te, hopByHop:
		return true
	}
	return false
}

// nominable: a Connection option of this name removes the field (RFC 9110 7.6.1).
// Senders MUST NOT nominate fields meant for all recipients, and one who could
// would make us drop what the next server decides by: the host, the framing,
// who the user is, where the request came from. Those options are ignored.
func nominable(name []byte) bool {
	if k := recognise(name); k == host || k == expect || k == trailer {
		return false
	}
	var lower [32]byte
	if len(name) > len(lower) {
		return true
	}
	for i, c := range name {
		lower[i] = lowers[c]
	}
	switch string(lower[:len(name)]) {
	case "authorization", "cookie", "set-cookie", "www-authenticate",
		"content-type", "content-encoding", "content-range", "range",
		"cache-control", "date", "location", "vary", "etag",
		"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range",
		"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port",
		"x-real-ip", "x-request-id", "via", "traceparent", "tracestate", "baggage":
		return false
	}
	return true
}

// notInTrailer: RFC 9110 6.5.1 forbids a sender to put it there (routing, controls,
// authentication, content format); it is dropped. Framing fields are refused elsewhere.
func notInTrailer(name []byte) bool {
	var lower [24]byte
	if len(name) > len(lower) {
		return false
	}
	for i, c := range name {
		lower[i] = lowers[c]
	}
	switch string(lower[:len(name)]) {
	case "authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate",
		"cookie", "set-cookie", "cache-control", "expires", "date", "age", "pragma", "vary",
		"location", "retry-after", "warning", "max-forwards", "range", "accept-ranges",
		"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range",
		"content-type", "content-encoding", "content-range", "content-language", "content-location":
		return true
	}
	return false
}
