package table

import "strings"

// indexFrom is the number of rules from which an index beats a scan
// (BenchmarkMatch in proxy/route).
const indexFrom = 12

// PathIndex finds the rules whose path match holds for a path, without
// looking at the others: a byte trie over exact paths, prefixes by segment
// and prefixes by byte, with one node per place where rules differ.
type PathIndex struct {
	root pathNode
	// always are rules whose path the trie cannot tell: any path and regular
	// expressions.
	always []int32
}

// pathNode is one place in the trie. The lists are rule numbers, ascending.
type pathNode struct {
	label    string // the bytes from the parent to here
	heads    string // first byte of each child's label, in the children's order
	children []*pathNode
	exact    []int32 // PathExact that ends here
	segment  []int32 // PathPrefix that ends here
	bytes    []int32 // PathStartsWith that ends here
}

// newPathIndex returns nil where it would not help.
func newPathIndex(rules []*Rule) *PathIndex {
	if len(rules) < indexFrom {
		return nil
	}
	x := &PathIndex{}
	for i, rule := range rules {
		number := int32(i)
		switch rule.Match.PathKind {
		case PathExact:
			n := x.root.place(rule.Match.Path)
			n.exact = append(n.exact, number)
		case PathPrefix:
			n := x.root.place(rule.Match.Path)
			n.segment = append(n.segment, number)
		case PathStartsWith:
			n := x.root.place(rule.Match.Path)
			n.bytes = append(n.bytes, number)
		default:
			x.always = append(x.always, number)
		}
	}
	return x
}

// place returns the node for path below n, making and splitting nodes.
func (n *pathNode) place(path string) *pathNode {
	for path != "" {
		at := strings.IndexByte(n.heads, path[0])
		if at < 0 {
			child := &pathNode{label: path}
			n.heads += path[:1]
			n.children = append(n.children, child)
			return child
		}
		child := n.children[at]
		common := commonPrefix(child.label, path)
		if common < len(child.label) {
			upper := &pathNode{
				label:    child.label[:common],
				heads:    child.label[common : common+1],
				children: []*pathNode{child},
			}
			child.label = child.label[common:]
			n.children[at] = upper
			child = upper
		}
		n, path = child, path[common:]
	}
	return n
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// Candidates is what PathIndex.Find found: ascending lists of rule numbers, to
// be walked in order of number by Next. It lives on the caller's stack.
type Candidates struct {
	lists [maxLists][]int32
	n     int
}

// maxLists bounds how many places of the trie may hold for one path. A policy
// with more nested prefixes than that is scanned instead.
const maxLists = 16

// Find fills c with the rules that may match path; all of them hold as far as
// the path goes, except regular expressions, which the caller checks. It
// reports false when there are too many lists: scan all rules then.
func (x *PathIndex) Find(path []byte, c *Candidates) bool {
	c.n = 0
	c.add(x.always)
	for n := &x.root; ; {
		// A prefix by segment ends where the path does or a segment starts.
		if len(path) == 0 {
			return c.add(n.exact) && c.add(n.bytes) && c.add(n.segment)
		}
		if !c.add(n.bytes) || path[0] == '/' && !c.add(n.segment) {
			return false
		}
		at := strings.IndexByte(n.heads, path[0])
		if at < 0 {
			return true
		}
		n = n.children[at]
		if len(path) < len(n.label) || string(path[:len(n.label)]) != n.label {
			return true
		}
		path = path[len(n.label):]
	}
}

func (c *Candidates) add(list []int32) bool {
	if len(list) == 0 {
		return true
	}
	if c.n == maxLists {
		return false
	}
	c.lists[c.n] = list
	c.n++
	return true
}

// Next returns the lowest rule number that is left and takes it out, or -1.
func (c *Candidates) Next() int {
	best := -1
	for i := range c.n {
		if len(c.lists[i]) > 0 && (best < 0 || c.lists[i][0] < c.lists[best][0]) {
			best = i
		}
	}
	if best < 0 {
		return -1
	}
	number := c.lists[best][0]
	c.lists[best] = c.lists[best][1:]
	return int(number)
}
