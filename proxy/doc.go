// Package proxy is the data path of a node: Server takes the connections of
// enrolled workloads from accept to report.
//
// The path of one connection is connection.run, in connection.go; open that
// first. Each stage is a package of its own below this one, and only this
// package knows all of them.
//
// It must not know how connections were captured, where policy comes from, or
// Kubernetes: it is given listeners, an OriginFinder, a Dialer and snapshots.
// Server's methods may be called from any goroutine that is not a loop.
// Everything of one connection belongs to the loop that it was given to.
package proxy
