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
// proxy/l7 is the caller. Every value belongs to one goroutine or coroutine at
// a time. Nothing allocates once a Request, Response or Body has been used a
// few times; keep and Reset them.
package http1
