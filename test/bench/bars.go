package main

import "fmt"

// What Culvert has to reach.
const (
	leastToHAProxy  = 1.0
	leastToDirect   = 0.97    // opaque TCP
	mostIdleBytes   = 2 << 10 // of a keep-alive connection
	barConnections  = 64
	barBody         = "tiny"
	keptConnections = "TCP, 64 conns kept"
)

// bar is one thing to reach and what was measured.
type bar struct {
	what string
	met  bool
}

func (b bar) String() string {
	verdict := "NOT MET"
	if b.met {
		verdict = "met"
	}
	return fmt.Sprintf("%-8s %s", verdict, b.what)
}

// judge adds the bars that a cell decides.
func (t *table) judge(cell string, who []contender, samples [][]sample) {
	culvert, haproxy := indexOf(who, "culvert"), indexOf(who, "haproxy")
	direct := samples[indexOf(who, "direct")]
	switch {
	case culvert < 0:
	case cell == keptConnections:
		r := median(ratios(samples[culvert], direct))
		t.bars = append(t.bars, bar{fmt.Sprintf("%s: %.2f x direct, at least %.2f", cell, r, leastToDirect), r >= leastToDirect})
	case cell == httpCell(barConnections, barBody) && haproxy >= 0:
		r := median(ratios(samples[culvert], samples[haproxy]))
		own, other := median(extra(samples[culvert], direct)), median(extra(samples[haproxy], direct))
		t.bars = append(t.bars,
			bar{fmt.Sprintf("%s: %.2f x haproxy, at least %.2f", cell, r, leastToHAProxy), r >= leastToHAProxy},
			bar{fmt.Sprintf("%s: %.1f us of CPU per request beyond direct, at most haproxy's %.1f", cell, own, other), own <= other})
	}
}

// judgeIdle adds the bar of idle memory, in bytes per connection.
func (t *table) judgeIdle(resident, live float64) {
	t.bars = append(t.bars, bar{
		fmt.Sprintf("idle keep-alive connection, of %d, each used once: %.0f bytes of the process (RssAnon), of which live heap %.0f, at most %d",
			idleConnections, resident, live, mostIdleBytes),
		max(resident, live) <= mostIdleBytes, // pages that were free before count for nothing in the first
	})
}
