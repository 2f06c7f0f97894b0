package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// table is the result of all parts.
type table struct {
	rows []string // tab-separated
	bars []bar
}

// add adds the rows of one cell. Ratios are taken within a round, and of those
// the median is shown with the smallest and the largest.
func (t *table) add(cell string, who []contender, samples [][]sample) {
	direct := samples[indexOf(who, "direct")]
	haproxy := indexOf(who, "haproxy")
	name := cell
	for i, c := range who {
		own := samples[i]
		toHAProxy := "-"
		if haproxy >= 0 {
			toHAProxy = ratio(own, samples[haproxy])
		}
		t.rows = append(t.rows, strings.Join([]string{
			name, c.name,
			fmt.Sprintf("%.0f", median(each(own, func(s sample) float64 { return s.perSecond }))),
			ratio(own, direct), toHAProxy,
			microseconds(median(each(own, func(s sample) float64 { return float64(s.p50) }))),
			microseconds(median(each(own, func(s sample) float64 { return float64(s.p99) }))),
			beyond(own, direct),
		}, "\t"))
		name = ""
	}
	t.judge(cell, who, samples)
}

// print shows what was measured, also when a fault ended the bench early.
func (t *table) print(to io.Writer) {
	if len(t.rows) > 0 {
		fmt.Fprintln(to)
		w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "cell\tcontender\tper second\tx direct (min..max)\tx haproxy (min..max)\tp50 us\tp99 us\tCPU us/req beyond direct (min..max)")
		for _, r := range t.rows {
			fmt.Fprintln(w, r)
		}
		w.Flush()
	}
	if len(t.bars) > 0 {
		fmt.Fprintln(to)
	}
	for _, b := range t.bars {
		fmt.Fprintln(to, b)
	}
}

// printMachine says where the numbers come from.
func printMachine() {
	var u unix.Utsname
	_ = unix.Uname(&u)
	fmt.Printf("kernel %s, %d cores, %s\n", unix.ByteSliceToString(u.Release[:]), runtime.NumCPU(), runtime.Version())
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		fmt.Printf("load average before: %s\n", strings.Fields(string(load))[0])
	}
}

func indexOf(who []contender, name string) int {
	return slices.IndexFunc(who, func(c contender) bool { return c.name == name })
}

// ratio of rates, round by round.
func ratio(a, b []sample) string {
	r := ratios(a, b)
	return fmt.Sprintf("%.2f (%.2f..%.2f)", median(r), slices.Min(r), slices.Max(r))
}

func ratios(a, b []sample) (r []float64) {
	for i := range a {
		r = append(r, a[i].perSecond/b[i].perSecond)
	}
	return r
}

// beyond is the processor time per request that a spends more than b, round by
// round.
func beyond(a, b []sample) string {
	d := extra(a, b)
	return fmt.Sprintf("%.1f (%.1f..%.1f)", median(d), slices.Min(d), slices.Max(d))
}

func extra(a, b []sample) (us []float64) {
	for i := range a {
		us = append(us, float64(a[i].cpu-b[i].cpu)/float64(time.Microsecond))
	}
	return us
}

func microseconds(nanoseconds float64) string {
	return fmt.Sprintf("%.0f", nanoseconds/float64(time.Microsecond))
}

func each(samples []sample, value func(sample) float64) []float64 {
	var v []float64
	for _, s := range samples {
		v = append(v, value(s))
	}
	return v
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

// progress shows where a run is, on a terminal only.
func progress(format string, args ...any) {
	if _, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS); err == nil {
		fmt.Fprintf(os.Stderr, format, args...)
	}
}
