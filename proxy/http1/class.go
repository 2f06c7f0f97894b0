package http1

// Byte classes. A table of 256 beats comparisons where classes are not ranges.
const (
	isToken  = 1 << iota // tchar, RFC 9110 5.6.2
	isValue              // field-vchar, obs-text, SP, HTAB: RFC 9110 5.5
	isPath               // may stand in a target before "?", but needs no look
	isQuery              // may stand in a target after "?"
	isHost               // reg-name of RFC 3986 3.2.2, without "," and "%"
	isHex                // HEXDIG, either case
	isQuoted             // qdtext, RFC 9110 5.6.4
	isSpace              // OWS, RFC 9110 5.6.3
)

// classes are the classes of each byte. Nobody writes it.
var classes = func() (t [256]uint8) {
	mark := func(class uint8, set string) {
		for i := range len(set) {
			t[set[i]] |= class
		}
	}
	const digits = "0123456789"
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	mark(isToken, digits+letters+"!#$%&'*+-.^_`|~")
	// "," is a sub-delim, so a reg-name could hold it, but in practice it means
	// that somebody merged two Host fields: refuse what could be two hosts.
	mark(isHost, digits+letters+"-._~!$&'()*+;=")
	mark(isHex, digits+"abcdefABCDEF")
	mark(isValue|isQuoted|isSpace, " \t")
	for c := 0x21; c <= 0xff; c++ {
		if c != 0x7f {
			t[c] |= isValue
		}
		if c != 0x7f && c != '"' && c != '\\' {
			t[c] |= isQuoted
		}
		// All visible ASCII but "#": browsers send "|", "^" and the like unencoded, and
		// no two servers split a request line differently because of them.
		if c < 0x7f && c != '#' {
			t[c] |= isQuery
		}
		if c < 0x7f && c != '#' && c != '%' && c != '?' {
			t[c] |= isPath
		}
	}
	return t
}()

// lowers are the bytes with ASCII letters in lower case. Nobody writes it.
var lowers = func() (t [256]uint8) {
	for c := range t {
		t[c] = uint8(c)
		if 'A' <= c && c <= 'Z' {
			t[c] += 'a' - 'A'
		}
	}
	return t
}()

// foldEqual compares ASCII without regard to case.
func foldEqual[A, B string | []byte](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lowers[a[i]] != lowers[b[i]] {
			return false
		}
	}
	return true
}

func trimSpace(b []byte) []byte {
	for len(b) > 0 && classes[b[0]]&isSpace != 0 {
		b = b[1:]
	}
	for len(b) > 0 && classes[b[len(b)-1]]&isSpace != 0 {
		b = b[:len(b)-1]
	}
	return b
}

// allOf: every byte of s is of the class.
func allOf[S string | []byte](s S, class uint8) bool {
	for i := range len(s) {
		if classes[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

// ValidName: name is a field name (RFC 9110 5.1, a token).
func ValidName(name string) bool { return name != "" && allOf(name, isToken) }

// ValidValue: value can be sent as a field value: no control bytes but tab, no
// space around it (RFC 9110 5.5).
func ValidValue(value string) bool {
	if value == "" {
		return true
	}
	return allOf(value, isValue) && classes[value[0]]&isSpace == 0 && classes[value[len(value)-1]]&isSpace == 0
}
