// Package table owns the immutable snapshot of everything the proxy knows:
// which service an origin means, which rules its requests are matched with,
// and which endpoints serve them. Build checks and compiles a whole
// configuration or refuses it whole, with one FieldError per fault; a
// Snapshot is never changed afterwards, so any number of goroutines may read
// it without a lock.
//
// It must not know where a configuration comes from (xDS is node/xds's), nor
// hold anything that lives: counters, health and pools belong to
// proxy/upstream and outlive a snapshot. It imports the standard library only.
package table
