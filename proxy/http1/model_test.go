package http1

import (
	"regexp"
	"strconv"
	"strings"
)

// The naive model: the grammar of RFC 9112 as regular expressions over one rune
// per byte, and the rules as string operations. Slow, and written to be read
// beside the RFC, not beside the parser.

const (
	tchar  = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]"
	vchar  = `[\t\x20-\x7e\x{80}-\x{ff}]`
	quoted = `"(?:[\t \x21\x23-\x5b\x5d-\x7e\x{80}-\x{ff}]|\\[\t\x20-\x7e\x{80}-\x{ff}])*"`
	bws    = `[ \t]*`

	modelExt = bws + tchar + `+(?:` + bws + `=` + bws + `(?:` + tchar + `+|` + quoted + `))?`
)

var (
	modelLine    = regexp.MustCompile(`^(` + tchar + `{1,32}) ([^ ]+) HTTP/1\.([01])$`)
	modelField   = regexp.MustCompile(`^(` + tchar + `+):(` + vchar + `*)$`)
	modelOrigin  = regexp.MustCompile(`^(/(?:[!"$&->@-~]|%[0-9A-Fa-f]{2})*)(\?([!"$-~]*))?$`)
	modelURI     = regexp.MustCompile(`^(?i:https?)://([^/?]*)((?:/(?:[!"$&->@-~]|%[0-9A-Fa-f]{2})*)?)(\?([!"$-~]*))?$`)
	modelHost    = regexp.MustCompile(`^(?:(?:[-0-9A-Za-z._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+|\[[0-9A-Fa-f:.]{2,}\])(?::([0-9]{0,5}))?$`)
	modelLength  = regexp.MustCompile(`^[0-9]{1,18}$`)
	modelList    = regexp.MustCompile(`^(?:(?:` + tchar + `+)?` + bws + `(?:,` + bws + `|$))*$`)
	modelUpgrade = regexp.MustCompile(`^` + tchar + `+(?:/` + tchar + `+)?(?:` + bws + `,` + bws + tchar + `+(?:/` + tchar + `+)?)*$`)
	modelStatus  = regexp.MustCompile(`^HTTP/1\.([01]) ([1-9][0-9][0-9])(?: (` + vchar + `*))?$`)
	modelChunk   = regexp.MustCompile(`^([0-9A-Fa-f]{1,16})(?:;` + modelExt + `(?:` + bws + `;` + modelExt + `)*)?\r\n`)
)

type modelMessage struct {
	n                         int
	method, path, query, host string
	status, minor             int
	length                    int64
	chunked, close, keep      bool
	fields                    [][2]string // trimmed
}

func latin1(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(rune(c))
	}
	return s.String()
}

func bytesOf(s string) string {
	var b strings.Builder
	for _, c := range s {
		b.WriteByte(byte(c))
	}
	return b.String()
}

// modelLines splits a complete head; n is 0 when it is not complete.
func modelLines(in []byte) (lines []string, n int) {
	head, _, found := strings.Cut(string(in), "\r\n\r\n")
	if !found {
		return nil, 0
	}
	return strings.Split(latin1([]byte(head)), "\r\n"), len(head) + 4
}

// modelFields reads field lines and the framing rules that both directions share.
func (m *modelMessage) modelFields(lines []string) bool {
	m.length = -1
	counts := map[string]int{}
	options := 0
	for _, line := range lines {
		f := modelField.FindStringSubmatch(line)
		if f == nil {
			return false
		}
		name, value := strings.ToLower(f[1]), strings.Trim(f[2], " \t")
		m.fields = append(m.fields, [2]string{f[1], bytesOf(value)})
		counts[name]++
		switch name {
		case "content-length":
			if !modelLength.MatchString(value) {
				return false
			}
			m.length, _ = strconv.ParseInt(value, 10, 64)
		case "transfer-encoding":
			if m.chunked = strings.ToLower(value) == "chunked"; !m.chunked {
				return false
			}
		case "connection":
			options += strings.Count(value, ",") + 1
			if !modelList.MatchString(value) || options > 32 {
				return false
			}
			for _, o := range strings.Split(strings.ToLower(value), ",") {
				m.close = m.close || strings.Trim(o, " \t") == "close"
				m.keep = m.keep || strings.Trim(o, " \t") == "keep-alive"
			}
		case "upgrade":
			if !modelUpgrade.MatchString(value) {
				return false
			}
		case "content_length", "transfer_encoding":
			return false
		}
	}
	for _, once := range []string{"content-length", "transfer-encoding", "upgrade"} {
		if counts[once] > 1 {
			return false
		}
	}
	return !m.chunked || m.length < 0 && m.minor == 1
}

func (m *modelMessage) get(lower string) (string, int) {
	last, n := "", 0
	for _, f := range m.fields {
		if strings.ToLower(f[0]) == lower {
			last = f[1]
			n++
		}
	}
	return last, n
}

// modelRequest: complete is false where the head has no end; ok whether it is valid.
func modelRequest(in []byte) (m *modelMessage, complete, ok bool) {
	skip := 0
	if strings.HasPrefix(string(in), "\r\n") {
		skip = 2
	}
	lines, n := modelLines(in[skip:])
	if n == 0 {
		return nil, false, false
	}
	m = &modelMessage{n: n + skip}
	line := modelLine.FindStringSubmatch(lines[0])
	if line == nil || line[1] == "CONNECT" || len(lines) > 129 || m.n > 64<<10 || len(line[2]) > 8<<10 {
		return nil, true, false
	}
	m.method, m.minor = line[1], int(line[3][0]-'0')
	authority, ok := m.modelTarget(line[2])
	if !ok || !m.modelFields(lines[1:]) {
		return nil, true, false
	}
	host, hosts := m.get("host")
	m.host = host
	switch {
	case hosts > 1, hosts == 0 && m.minor == 1, hosts == 1 && !modelValidHost(host):
		return nil, true, false
	case hosts == 1 && authority != "" && strings.ToLower(host) != strings.ToLower(authority):
		return nil, true, false
	case hosts == 0:
		m.host = authority
	}
	for _, f := range m.fields {
		if strings.EqualFold(f[0], "expect") && strings.ToLower(f[1]) != "100-continue" {
			return nil, true, false
		}
	}
	return m, true, true
}

func (m *modelMessage) modelTarget(target string) (authority string, ok bool) {
	if target == "*" {
		m.path = "*"
		return "", m.method == "OPTIONS"
	}
	if o := modelOrigin.FindStringSubmatch(target); o != nil {
		m.path, m.query = o[1], o[3]
		return "", true
	}
	u := modelURI.FindStringSubmatch(target)
	if u == nil || !modelValidHost(u[1]) {
		return "", false
	}
	m.path, m.query = u[2], u[4]
	if m.path == "" {
		m.path = "/"
	}
	return u[1], true
}

func modelValidHost(h string) bool {
	m := modelHost.FindStringSubmatch(h)
	if m == nil {
		return false
	}
	port, _ := strconv.Atoi(m[1])
	return port <= 65535
}

func modelResponse(in []byte, method string) (m *modelMessage, complete, ok bool) {
	lines, n := modelLines(in)
	if n == 0 {
		return nil, false, false
	}
	m = &modelMessage{n: n}
	line := modelStatus.FindStringSubmatch(lines[0])
	if line == nil || len(lines) > 129 || m.n > 64<<10 {
		return nil, true, false
	}
	m.minor = int(line[1][0] - '0')
	m.status, _ = strconv.Atoi(line[2])
	if !m.modelFields(lines[1:]) {
		return nil, true, false
	}
	if (m.status < 200 || m.status == 204) && (m.chunked || m.length > 0) {
		return nil, true, false
	}
	if m.status == 101 {
		up, n := m.get("upgrade")
		asked := false
		for _, f := range m.fields {
			for _, o := range strings.Split(strings.ToLower(f[1]), ",") {
				asked = asked || strings.EqualFold(f[0], "connection") && strings.Trim(o, " \t") == "upgrade"
			}
		}
		h2c := regexp.MustCompile(`(?i)(^|,)[ \t]*h2c`).MatchString(up)
		if n == 0 || !asked || h2c || m.minor == 0 {
			return nil, true, false
		}
	}
	return m, true, true
}

// modelBody decodes a chunked body. ok false with complete false: it only needs more,
// or is bad in a part that is not complete.
func modelBody(in []byte) (data string, n int, trailers [][2]string, complete, ok bool) {
	rest := latin1(in)
	for {
		c := modelChunk.FindStringSubmatch(rest)
		if c == nil || len([]rune(c[0])) > 1024 {
			line, _, whole := strings.Cut(rest, "\n")
			return "", 0, nil, whole || len([]rune(line)) > 1024, false
		}
		rest = rest[len(c[0]):]
		size, err := strconv.ParseInt(c[1], 16, 64)
		if err != nil || size >= 1<<62 {
			return "", 0, nil, true, false
		}
		if size == 0 {
			break
		}
		runes := []rune(rest)
		if int64(len(runes)) < size+2 {
			return "", 0, nil, false, false
		}
		if string(runes[size:size+2]) != "\r\n" {
			return "", 0, nil, true, false
		}
		data += bytesOf(string(runes[:size]))
		rest = string(runes[size+2:])
	}
	return modelTrailers(in, data, rest)
}

func modelTrailers(in []byte, data, rest string) (string, int, [][2]string, bool, bool) {
	left := len([]rune(rest))
	if strings.HasPrefix(rest, "\r\n") {
		return data, len(in) - left + 2, nil, true, true
	}
	section, _, found := strings.Cut(rest, "\r\n\r\n")
	size := len([]rune(section)) + 4
	if !found {
		return "", 0, nil, false, false
	}
	m := &modelMessage{}
	lines := strings.Split(section, "\r\n")
	forbidden := regexp.MustCompile(`(?i)^(host|content[-_]length|transfer[-_]encoding|connection|upgrade|te|expect|trailer|keep-alive|proxy-connection|http2-settings)$`)
	if size > 8<<10 || !m.modelFields(lines) {
		return "", 0, nil, true, false
	}
	var kept [][2]string
	for _, f := range m.fields {
		if forbidden.MatchString(f[0]) {
			return "", 0, nil, true, false
		}
		if !notInTrailer([]byte(f[0])) {
			kept = append(kept, f)
		}
	}
	return data, len(in) - left + size, kept, true, len(kept) <= 64
}
