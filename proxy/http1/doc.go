// Package http1 is the HTTP/1.1 codec of the data path (RFC 9110, RFC 9112):
// heads and bodies in, heads and chunk framing out, over byte slices that the
// caller owns. It does no I/O, keeps no clock and knows no policy, connection
// or route; it imports the standard library only.
//
// It owns the answer to one question: where does this message end? Whatever
// could be read in two ways is an error, never repaired, because a second
// server behind us might read it the other way (request smuggling). Errors are
// found at the first byte that no valid message could have, so splitting the
// input anywhere gives the same verdict as the whole.
//
// Where the RFCs leave a choice, this is ours:
//
//   - refused although a recipient may be lenient: a bare LF, obs-fold, white space
//     before a colon, a repeated Content-Length of equal value, a Host that differs
//     from an absolute-form's, a host with a comma, a malformed "%" in a path, field
//     names that are framing's but for a "_", an Expect that is not 100-continue,
//     white space after a chunk size;
//   - taken: one empty line before a request, bytes in a target that RFC 3986 wants
//     encoded but that split it nowhere (such as "|"), obs-text in values, a status
//     line without its last space, Content-Length: 0 with a 204;
//   - made as if it had not been sent: an offer of h2c, a Connection option that
//     names a field meant for all recipients (Host, Authorization, X-Forwarded-For).
//
// proxy/l7 is the caller. Every value belongs to one goroutine or coroutine at
// a time. Nothing allocates once a Request, Response or Body has been used a
// few times; keep and Reset them.
package http1
