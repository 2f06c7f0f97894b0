package table

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

func (b *builder) compileRule(where at, in *RuleInput) *Rule {
	checkName(where, in.Name)
	return &Rule{
		Name:   in.Name,
		Match:  compileMatch(where.in("match"), &in.Match),
		Action: b.compileAction(where.in("action"), in),
	}
}

func (b *builder) compileAction(where at, rule *RuleInput) Action {
	in := &rule.Action
	out := Action{
		RequestHeaders:  compileEdits(where.in("requestHeaders"), in.RequestHeaders),
		ResponseHeaders: compileEdits(where.in("responseHeaders"), in.ResponseHeaders),
	}
	kinds := 0
	if in.Forward != nil {
		kinds++
		out.Forward = b.compileForward(where.in("forward"), in.Forward, rule.Match.PathKind)
	}
	if in.Redirect != nil {
		kinds++
		out.Redirect = compileRedirect(where.in("redirect"), in.Redirect, rule.Match.PathKind)
	}
	if in.Direct != nil {
		kinds++
		out.Direct = compileDirect(where.in("direct"), in.Direct)
	}
	if kinds != 1 {
		where.fault("has %d of forward, redirect and direct, not exactly one", kinds)
	}
	return out
}

func (b *builder) compileForward(where at, in *ForwardInput, path PathKind) *Forward {
	out := &Forward{
		RequestTimeout: orDefault(where.in("requestTimeout"), in.RequestTimeout, 0),
		AttemptTimeout: orDefault(where.in("attemptTimeout"), in.AttemptTimeout, 0),
		Retry:          compileRetry(where.in("retry"), in.Retry),
	}
	for i := range in.Backends {
		share := &in.Backends[i]
		here := where.item("backends", i)
		out.total += uint64(share.Weight)
		compiled := Share{
			Name:            share.Backend,
			Weight:          share.Weight,
			RequestHeaders:  compileEdits(here.in("requestHeaders"), share.RequestHeaders),
			ResponseHeaders: compileEdits(here.in("responseHeaders"), share.ResponseHeaders),
			below:           out.total,
		}
		if !share.Invalid {
			compiled.Backend = b.backends[share.Backend]
		}
		out.Shares = append(out.Shares, compiled)
	}
	if out.total > math.MaxUint32 {
		where.in("backends").fault("have weights that add up to more than %d", uint32(math.MaxUint32))
	}
	if in.Rewrite != nil {
		out.Rewrite = compileRewrite(where.in("rewrite"), in.Rewrite, path)
	}
	return out
}

func compileRewrite(where at, in *RewriteInput, path PathKind) *Rewrite {
	checkHost(where.in("host"), in.Host)
	checkNewPath(where, newPath{in.Path, in.ReplacePrefix, in.Prefix}, path)
	out := Rewrite(*in)
	return &out
}

func compileRedirect(where at, in *RedirectInput, path PathKind) *Redirect {
	checkHost(where.in("host"), in.Host)
	checkNewPath(where, newPath{in.Path, in.ReplacePrefix, in.Prefix}, path)
	if in.Scheme != "" && in.Scheme != "http" && in.Scheme != "https" {
		where.in("scheme").fault("is %q, neither http nor https", in.Scheme)
	}
	switch in.Status {
	case 301, 302, 303, 307, 308:
	default:
		where.in("status").fault("is %d, not one of 301, 302, 303, 307 and 308", in.Status)
	}
	out := Redirect(*in)
	return &out
}

func compileDirect(where at, in *DirectInput) *Direct {
	if in.Status < 200 || in.Status > 599 {
		where.in("status").fault("is %d, not between 200 and 599", in.Status)
	}
	if len(in.Body) > MaxBodyBytes {
		where.in("body").fault("has %d bytes, more than %d", len(in.Body), MaxBodyBytes)
	}
	// RFC 9110 15.3.5 and 15.4.5: these have no content.
	if in.Body != "" && (in.Status == 204 || in.Status == 304) {
		where.in("body").fault("cannot be sent with status %d", in.Status)
	}
	if in.Reason != "" && !isToken(in.Reason) {
		where.in("reason").fault("%q is not a token", in.Reason)
	}
	out := Direct(*in)
	return &out
}

// newPath is what a rewrite and a redirect say about the path.
type newPath struct {
	path          string
	replacePrefix bool
	prefix        string
}

func checkNewPath(where at, in newPath, matched PathKind) {
	if in.path != "" {
		checkPath(where.in("path"), in.path)
	}
	if in.path != "" && in.replacePrefix {
		where.in("prefix").fault("is set, and so is path")
	}
	if in.prefix != "" && !in.replacePrefix {
		where.in("prefix").fault("is set without replacePrefix")
	}
	if !in.replacePrefix {
		return
	}
	if matched != PathPrefix {
		// Gateway API: ReplacePrefixMatch is only valid with PathPrefix.
		where.in("prefix").fault("can replace only what a path prefix match has matched")
	}
	if in.prefix != "" {
		checkPath(where.in("prefix"), in.prefix)
	}
}

// defaultRetry is what is tried again where the policy says nothing: only
// connections that could not be made, so nothing can happen twice.
func defaultRetry() *Retry {
	return &Retry{
		Attempts:         DefaultRetryAttempts,
		OnConnectFailure: true,
		Backoff:          DefaultBackoff,
		MaxBackoff:       DefaultBackoff * DefaultBackoffGrowth,
	}
}

func compileRetry(where at, in *RetryInput) *Retry {
	if in == nil {
		return defaultRetry()
	}
	out := &Retry{
		Attempts:         in.Attempts,
		Codes:            slices.Clone(in.Codes),
		OnConnectFailure: in.OnConnectFailure,
		OnReset:          in.OnReset,
		Backoff:          orDefault(where.in("backoff"), in.Backoff, DefaultBackoff),
	}
	if out.Attempts > MaxRetryAttempts {
		where.in("attempts").fault("is %d, more than %d", out.Attempts, MaxRetryAttempts)
	}
	for i, code := range out.Codes {
		if code < 400 || code > 599 {
			// Gateway API HTTPRouteRetryStatusCode has the same bounds.
			where.item("codes", i).fault("is %d, not between 400 and 599", code)
		}
	}
	slices.Sort(out.Codes)
	out.Codes = slices.Compact(out.Codes)
	out.MaxBackoff = orDefault(where.in("maxBackoff"), in.MaxBackoff, out.Backoff*DefaultBackoffGrowth)
	if out.MaxBackoff < out.Backoff {
		where.in("maxBackoff").fault("is %s, less than backoff %s", out.MaxBackoff, out.Backoff)
	}
	return out
}

// framing names the headers that no policy may change: the proxy writes them
// itself (RFC 9112 6), or they belong to one connection (RFC 9110 7.6.1), or,
// for host, a rewrite has its own field.
func framing(lower string) bool {
	switch lower {
	case "content-length", "transfer-encoding", "connection", "keep-alive",
		"proxy-connection", "te", "trailer", "upgrade", "host":
		return true
	}
	return false
}

func compileEdits(where at, in HeaderOps) HeaderEdits {
	var out HeaderEdits
	out.Set = compileLines(where.in("set"), in.Set)
	out.Add = compileLines(where.in("add"), in.Add)
	for _, name := range in.Remove {
		checkEdited(where.in("remove"), name)
		out.Remove = append(out.Remove, strings.ToLower(name))
	}
	return out
}

func compileLines(where at, in []HeaderValue) []HeaderLine {
	var out []HeaderLine
	for _, h := range in {
		checkEdited(where, h.Name)
		checkValue(where, h.Name, h.Value)
		out = append(out, HeaderLine{h.Name, strings.ToLower(h.Name), h.Value})
	}
	return out
}

func checkEdited(where at, name string) {
	if !isToken(name) {
		where.fault("%q is not a header name", name)
	} else if framing(strings.ToLower(name)) {
		where.fault("%s may not be changed by a header policy", cmp.Or(name, `""`))
	}
}
