// Package l7 owns one HTTP/1.1 request from head to trailers, and the client's
// connection while it carries requests: routing, the attempts loop, bodies both
// ways at once, answers of our own, upgrades.
//
// It must not know how connections were captured or accepted, nor how an
// endpoint is chosen or a connection pooled: it is given a connection, reads the
// tables, and takes leases. Codec and framing are http1's.
//
// The reading order is: session.go (a connection's requests, one after the
// other), exchange.go (one request), attempt.go (the attempts loop and one
// try), connect.go and send.go (its first half), upload.go and relay.go (the two
// bodies), upgrade.go (what a 101 leads to), answer.go (our own answers).
//
// Everything here belongs to one reactor loop. A Session's request runs in a
// coroutine; a body that is still being uploaded when its head has been
// forwarded runs in a second one, so that a response can overtake it. An idle
// connection holds a Session and nothing else, an upgraded one its tunnel beside
// it: exchanges and buffers come from the loop's Engine and go back.
package l7
