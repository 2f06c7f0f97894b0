// Package kernels runs Culvert's kernel tests on other kernels than the one
// that is here: Debian's packages of them, booted by qemu without KVM.
//
// It owns: finding, fetching and unpacking a kernel package (never installed),
// an initramfs that holds nothing but static Go programs and four modules, one
// qemu process per kernel, and reading what the guest says on its serial port.
//
// It must not know what the tests test: it runs test binaries of other
// packages, and the story (test/kernels/story), in the guest.
//
// It needs no root: the guest has its own.
package kernels
