// Package story is one test: a whole node in a minimal world, on whatever
// kernel it runs. test/kernels runs it in its guests; with go test it runs here.
package story
