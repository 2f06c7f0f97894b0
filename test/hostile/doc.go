// Package hostile attacks a real node: clients and servers that break HTTP, stall, flood, lie and
// vanish, in pods of a world, while well-behaved clients of the same node must not notice. It has
// tests only.
package hostile
