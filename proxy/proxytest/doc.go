// Package proxytest is what tests of proxy/* share: a reactor on a clock that only the test moves,
// scripted peers over real loopback sockets, and a check for leaks. It owns nothing of the product
// and only tests may import it.
//
// A protocol test reads as a script:
//
//	r := proxytest.Start(t, 1)
//	conn, client := r.Pair(t)            // a reactor conn and who is at its other end
//	r.Go(0, func() { serve(conn) })
//	client.Send("GET / HTTP/1.1\r\n\r\n")
//	client.Expect("HTTP/1.1 408 ")       // fails after 10 s of real time, should it not come
//	r.Advance(time.Minute)               // returns when all that was due has run
//	client.ExpectEOF()
package proxytest
