package l7

import (
	"bytes"
	"net/netip"
	"strconv"
	"time"

	"github.com/culvert-mesh/culvert/proxy/http1"
	"github.com/culvert-mesh/culvert/proxy/route"
	"github.com/culvert-mesh/culvert/proxy/table"
	"github.com/culvert-mesh/culvert/proxy/telemetry"
)

// ReasonHeader is the response header that names the reason of an answer of our
// own; no endpoint's response is given it.
const ReasonHeader = "x-culvert-reason"

// dateFormat is RFC 9110 5.6.7's, which answers of our own carry (6.6.1).
const dateFormat = "Mon, 02 Jan 2006 15:04:05 GMT"

// answer is a response of our own.
type answer struct {
	status   int
	reason   string // for ReasonHeader; "": none
	location []byte // nil: none
	body     string
}

// fail ends a request for reason: with an answer if the client has none and is
// there, else by closing.
func (x *exchange) fail(reason telemetry.Reason) {
	x.report.Reason = reason
	status := reason.Status()
	if x.committed || status == 0 {
		x.persist, x.connReason = false, reason
		return
	}
	x.respond(&answer{status: status, reason: reason.String(), body: reason.String() + "\n"})
}

// direct answers as the rule says.
func (x *exchange) direct(d *table.Direct) {
	if reason, ok := telemetry.ParseReason(d.Reason); ok {
		x.report.Reason = reason
	} else if d.Reason != "" {
		x.report.Reason = telemetry.Unavailable
	}
	x.respond(&answer{status: int(d.Status), reason: d.Reason, body: d.Body})
}

// redirect answers with a Location (Gateway API HTTPRequestRedirectFilter).
func (x *exchange) redirect(r *table.Redirect) {
	scheme := "http"
	if r.Scheme != "" {
		scheme = r.Scheme
	}
	to := append(x.target[:0], scheme...)
	to = append(to, "://"...)
	switch host := x.request.Host(); {
	case r.Host != "":
		to = append(to, r.Host...)
	case len(host) > 0:
		to = append(to, hostOnly(host)...)
	default:
		to = append(to, hostOnly([]byte(authority(x.session.origin)))...)
	}
	if port := redirectPort(r, x.session.origin); port != wellKnown(scheme) {
		to = append(to, ':')
		to = strconv.AppendUint(to, uint64(port), 10)
	}
	to = route.AppendRedirected(to, x.request.Path(), &x.rule.Match, r)
	x.target = x.appendQuery(to)
	x.respond(&answer{status: int(r.Status), location: x.target})
}

// redirectPort follows HTTPRequestRedirectFilter.port: the one given, else the
// scheme's, else the one that the client dialled.
func redirectPort(r *table.Redirect, origin netip.AddrPort) uint16 {
	switch {
	case r.Port != 0:
		return r.Port
	case r.Scheme != "":
		return wellKnown(r.Scheme)
	}
	return origin.Port()
}

func wellKnown(scheme string) uint16 {
	if scheme == "https" {
		return 443
	}
	return 80
}

// hostOnly takes the port off a Host field's value; an IPv6 literal keeps its
// brackets.
func hostOnly(host []byte) []byte {
	if end := bytes.LastIndexByte(host, ']'); end >= 0 {
		return host[:end+1]
	}
	if colon := bytes.IndexByte(host, ':'); colon >= 0 {
		return host[:colon]
	}
	return host
}

// respond sends an answer of our own. It goes through the codec like an
// endpoint's, so that the rule's edits, HEAD and the connection's fate are
// treated in one place.
func (x *exchange) respond(a *answer) {
	e := x.engine
	x.client.WriteBy(after(e.loop.Now(), e.limits.WriteTimeout))
	x.report.Status = a.status
	if !x.body.Done() || x.session.draining {
		x.persist = false
	}
	raw := appendAnswer(e.buffer(smallBuffer), a)
	method := x.request.Method()
	x.response.Reset()
	n, err := x.response.Parse(raw, nil, method)
	if err == nil && n > 0 {
		x.reply = http1.ResponseHead{
			Framing: x.response.FramingFor(x.request.Minor), ClientMinor: x.request.Minor,
			Close: !x.persist, Edits: x.edits.list,
		}
		out := x.response.AppendHead(e.buffer(smallBuffer), &x.reply)
		if x.response.Framing().Kind == http1.Fixed {
			out = append(out, a.body...)
		}
		var sent int
		sent, err = x.client.Write(out)
		x.report.BytesOut += int64(sent)
		e.freeHead(out)
	}
	e.freeHead(raw)
	x.client.WriteBy(0)
	x.committed = true
	if err != nil {
		x.persist, x.connReason = false, endReason(err, true)
	}
}

func appendAnswer(dst []byte, a *answer) []byte {
	dst = http1.AppendStatusLine(dst, a.status)
	dst = append(dst, "date: "...)
	dst = time.Now().UTC().AppendFormat(dst, dateFormat)
	dst = append(dst, "\r\n"...)
	if a.reason != "" {
		dst = http1.AppendField(dst, ReasonHeader, a.reason)
	}
	if a.location != nil {
		dst = append(dst, "location: "...)
		dst = append(dst, a.location...)
		dst = append(dst, "\r\n"...)
	}
	if a.status != 204 && a.status != 304 {
		if a.body != "" {
			dst = http1.AppendField(dst, "content-type", "text/plain; charset=utf-8")
		}
		dst = append(dst, "content-length: "...)
		dst = strconv.AppendInt(dst, int64(len(a.body)), 10)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}
