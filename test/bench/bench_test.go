package main

import (
	"testing"
	"time"
)

func TestParseWrk(t *testing.T) {
	const report = `Running 1s test @ http://10.10.0.3:8080/tiny
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.02ms    1.31ms  21.01ms   90.51%
    Req/Sec    38.41k     6.31k   50.21k    66.67%
  Latency Distribution
     50%  676.00us
     75%    1.15ms
     90%    2.20ms
     99%    6.71ms
  84061 requests in 1.10s, 12.83MB read
Requests/sec:  76415.10
Transfer/sec:     11.66MB
`
	s, n, err := parseWrk(report)
	if err != nil || n != 84061 || s.perSecond != 76415.10 || s.p50 != 676*time.Microsecond || s.p99 != 6710*time.Microsecond {
		t.Errorf("read %+v, %d requests, %v", s, n, err)
	}
	for _, bad := range []string{
		report + "  Non-2xx or 3xx responses: 12\n",
		report + "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
		"",
	} {
		if _, _, err := parseWrk(bad); err == nil {
			t.Errorf("took %q", bad)
		}
	}
}

func TestRatiosAreTakenWithinARound(t *testing.T) {
	a := []sample{{perSecond: 10}, {perSecond: 30}, {perSecond: 200}}
	b := []sample{{perSecond: 10}, {perSecond: 20}, {perSecond: 100}}
	if got := ratio(a, b); got != "1.50 (1.00..2.00)" {
		t.Errorf("ratio %s", got)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median %v", got)
	}
}
