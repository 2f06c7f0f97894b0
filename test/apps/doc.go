// Package apps proves that Culvert is transparent: it runs programs that know
// nothing of it, as Debian ships them, in the pods of one world, under a real
// `culvert node`.
//
// It owns the table of programs and what each of them does; servers and clients
// are the real ones. Every story says which way its connections must go (through
// the proxy as HTTP, through the proxy as TCP, chosen in the kernel, or untouched)
// and the node's own counters prove it: VIPs work without Culvert too in this
// world, so a program that got around it would not be noticed otherwise.
//
// It must not know how Culvert works inside. Programs that are missing are
// skipped by the name of their Debian package; with CI=true that is a failure.
package apps
