// Package telemetry owns what is said about traffic: the closed set of reasons,
// the report of each request, attempt and connection, and the counters that are
// made from them.
//
// It must not know sockets, protocols or how a decision was taken; it is handed
// finished values. Each reactor loop owns one Recorder and is its only writer;
// a Registry merges all of them when Prometheus scrapes, from any goroutine.
// Every label value comes from a snapshot, a workload or a closed set, never
// from the bytes of a request, so the number of series is bounded by the
// configuration.
package telemetry
