package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// sample is one run of one contender.
type sample struct {
	perSecond float64
	p50, p99  time.Duration
	// cpu is the processor time of the whole machine per request.
	cpu time.Duration
}

// wrk runs wrk in the client pod for whole seconds and reads its report.
func (f *field) wrk(ctx context.Context, url string, connections int, d time.Duration) (sample, error) {
	before, err := busyTime()
	if err != nil {
		return sample{}, err
	}
	out, err := f.client.Run(ctx, "wrk", "--latency", "-t", strconv.Itoa(min(workers(), connections)),
		"-c", strconv.Itoa(connections), "-d", strconv.Itoa(int(d/time.Second))+"s", url)
	if err != nil {
		return sample{}, err
	}
	after, err := busyTime()
	if err != nil {
		return sample{}, err
	}
	s, requests, err := parseWrk(out)
	if err != nil {
		return sample{}, fmt.Errorf("%w\n%s", err, out)
	}
	s.cpu = (after - before) / time.Duration(max(requests, 1))
	return s, nil
}

// parseWrk reads the report of `wrk --latency`. Any failed request is an error:
// a rate with errors in it compares nothing.
func parseWrk(out string) (sample, int64, error) {
	var s sample
	if m := regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)`).FindString(out); m != "" {
		return s, 0, errors.New(m)
	}
	rate := regexp.MustCompile(`Requests/sec:\s+([\d.]+)`).FindStringSubmatch(out)
	count := regexp.MustCompile(`(\d+) requests in`).FindStringSubmatch(out)
	p50 := regexp.MustCompile(`50%\s+([\d.]+)(us|ms|s)`).FindStringSubmatch(out)
	p99 := regexp.MustCompile(`99%\s+([\d.]+)(us|ms|s)`).FindStringSubmatch(out)
	if rate == nil || count == nil || p50 == nil || p99 == nil {
		return s, 0, errors.New("read wrk's report: something is missing")
	}
	var errs [4]error
	s.perSecond, errs[0] = strconv.ParseFloat(rate[1], 64)
	s.p50, errs[1] = time.ParseDuration(p50[1] + p50[2])
	s.p99, errs[2] = time.ParseDuration(p99[1] + p99[2])
	requests, err := strconv.ParseInt(count[1], 10, 64)
	errs[3] = err
	return s, requests, errors.Join(errs[:]...)
}

// busyTime is the processor time that the whole machine has spent on anything,
// kernel and interrupts included; idle, waiting and stolen time are not.
func busyTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	// proc(5): cpu user nice system idle iowait irq softirq steal ...
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, errors.New("read processor time: unknown form")
	}
	var ticks int64
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// ticksPerSecond is USER_HZ: 100 on every architecture that Go runs on.
const ticksPerSecond = 100
