// Package bytes proves that what goes through a real node arrives byte for byte, at layer 7 and at
// layer 4, with many connections and with slow ones, while the node's memory stays bounded. It has
// tests only.
package bytes
