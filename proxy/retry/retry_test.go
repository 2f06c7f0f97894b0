package retry_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/retry"
	"github.com/culvert-mesh/culvert/proxy/table"
)

// The tables' types have the shape of this package's: these must compile.
var (
	_ = (*retry.Policy)((*table.Retry)(nil))
	_ = retry.BudgetConfig(table.Budget{})
)

func TestDecide(t *testing.T) {
	all := retry.Policy{Attempts: 2, Codes: []uint16{500, 503}, OnConnectFailure: true, OnReset: true}
	gateway := retry.Policy{Attempts: 2, Codes: []uint16{504}}
	none := retry.Policy{Attempts: 2, OnConnectFailure: true}
	const (
		connect, reset = retry.Connect, retry.Reset
		timeout, code  = retry.Timeout, retry.Status
	)
	// A request with a GET's luck: idempotent, all sent, its body at hand.
	get := func(f retry.Fault) retry.Attempt {
		return retry.Attempt{Fault: f, Status: 503, Sent: f != connect, Idempotent: true, Replayable: true}
	}
	with := func(a retry.Attempt, change func(*retry.Attempt)) retry.Attempt { change(&a); return a }
	post := func(a *retry.Attempt) { a.Idempotent = false }
	unsent := func(a *retry.Attempt) { a.Idempotent, a.Sent = false, false }
	streamed := func(a *retry.Attempt) { a.Replayable = false }
	answered := func(a *retry.Attempt) { a.Answered = true }
	twice := func(a *retry.Attempt) { a.Retries = 2 }
	other := func(a *retry.Attempt) { a.Status = 502 }
	for i, c := range []struct {
		policy  *retry.Policy
		attempt retry.Attempt
		want    retry.Verdict
	}{
		{&all, get(connect), retry.Again},
		{&all, get(reset), retry.Again},
		{&all, get(timeout), retry.Again},
		{&all, get(code), retry.Again},
		{&all, with(get(code), other), retry.GiveUp},
		{&all, with(get(code), post), retry.Again},
		{&all, with(get(connect), post), retry.Again},
		{&all, with(get(reset), post), retry.NotIdempotent},
		{&all, with(get(timeout), post), retry.NotIdempotent},
		{&all, with(get(reset), unsent), retry.Again},
		{&all, with(get(code), streamed), retry.NotReplayable},
		{&all, with(get(reset), streamed), retry.NotReplayable},
		{&all, with(get(code), answered), retry.TooLate},
		{&all, with(get(reset), answered), retry.TooLate},
		{&all, with(get(code), twice), retry.Exhausted},
		{&none, get(connect), retry.Again},
		{&none, get(reset), retry.GiveUp},
		{&none, get(timeout), retry.GiveUp},
		{&none, get(code), retry.GiveUp},
		{&gateway, get(connect), retry.GiveUp},
		{&gateway, get(timeout), retry.Again},
		{&gateway, with(get(timeout), post), retry.NotIdempotent},
		{&retry.Policy{OnConnectFailure: true}, get(connect), retry.Exhausted},
	} {
		if got := c.policy.Decide(c.attempt); got != c.want {
			t.Errorf("case %d: %v for %+v, want %v", i, got, c.attempt, c.want)
		}
	}
}

// What was answered, or cannot be sent again whole, is never sent again,
// whatever the policy and the rest.
func TestNeverAgain(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	coin := func() bool { return random.IntN(2) == 0 }
	for range 20_000 {
		p := retry.Policy{Attempts: random.Uint32N(4), Codes: []uint16{503, 504}, OnConnectFailure: coin(), OnReset: coin()}
		a := retry.Attempt{
			Fault: retry.Fault(random.IntN(5)), Status: 500 + uint16(random.IntN(6)), Retries: random.Uint32N(5),
			Sent: coin(), Idempotent: coin(), Replayable: coin(), Answered: coin(),
		}
		if p.Decide(a) != retry.Again {
			continue
		}
		if a.Answered || !a.Replayable || a.Retries >= p.Attempts ||
			a.Sent && !a.Idempotent && a.Fault != retry.Status {
			t.Fatalf("again: %+v under %+v", a, p)
		}
	}
}

func TestWhatNeverLeftNeedsNoBudget(t *testing.T) {
	if (retry.Attempt{Fault: retry.Connect}).Budgeted() || !(retry.Attempt{Fault: retry.Reset, Sent: true}).Budgeted() {
		t.Fatal("only a request that left counts")
	}
}

func TestIdempotent(t *testing.T) {
	for method, want := range map[string]bool{
		"GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "PUT": true, "DELETE": true,
		"POST": false, "PATCH": false, "CONNECT": false, "get": false, "": false, "LOCK": false,
	} {
		if retry.Idempotent([]byte(method)) != want {
			t.Errorf("%q: not %v", method, want)
		}
	}
}

func TestDelay(t *testing.T) {
	p := retry.Policy{Backoff: 25 * time.Millisecond, MaxBackoff: 250 * time.Millisecond}
	for n, most := range []time.Duration{50, 75, 125, 225, 250, 250} {
		most *= time.Millisecond
		if got := p.Delay(uint32(n), math.MaxUint64); got != most {
			t.Errorf("retry %d: at most %s, want %s", n, got, most)
		}
		if got := p.Delay(uint32(n), 0); got != p.Backoff {
			t.Errorf("retry %d: at least %s, want %s", n, got, p.Backoff)
		}
	}
	if got := p.Delay(math.MaxUint32, math.MaxUint64); got != p.MaxBackoff {
		t.Errorf("after many: %s", got)
	}
	var sum time.Duration
	random := rand.New(rand.NewPCG(5, 6))
	for range 10_000 {
		sum += p.Delay(2, random.Uint64())
	}
	if mean := sum / 10_000; mean < 73*time.Millisecond || mean > 77*time.Millisecond {
		t.Errorf("mean of 25 ms and full jitter over 100 ms is %s", mean)
	}
}

// TestDelayBounds holds whatever the policy: never before Backoff (Gateway API),
// never after MaxBackoff, and later retries have no less room than earlier ones.
func TestDelayBounds(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for range 100_000 {
		p := retry.Policy{Backoff: time.Duration(random.Uint64() >> (1 + random.UintN(60)))}
		p.MaxBackoff = p.Backoff
		if room := uint64(math.MaxInt64 - p.Backoff); room > 0 {
			p.MaxBackoff += time.Duration((random.Uint64() >> random.UintN(60)) % room)
		}
		n := uint32(random.Uint64() >> (32 + random.UintN(32)))
		if got := p.Delay(n, random.Uint64()); got < p.Backoff || got > p.MaxBackoff {
			t.Fatalf("%+v, retry %d: %s", p, n, got)
		}
		if now, next := p.Delay(n, math.MaxUint64), p.Delay(n+1, math.MaxUint64); n < math.MaxUint32 && next < now {
			t.Fatalf("%+v, retry %d: at most %s, the next one %s", p, n, now, next)
		}
	}
}

func TestBudgetLimit(t *testing.T) {
	for _, c := range []struct {
		config retry.BudgetConfig
		live   int64
		want   int64
	}{
		{retry.BudgetConfig{Percent: 20, MinConcurrency: 3}, 0, 3},
		{retry.BudgetConfig{Percent: 20, MinConcurrency: 3}, 15, 3},
		{retry.BudgetConfig{Percent: 20, MinConcurrency: 3}, 20, 4},
		{retry.BudgetConfig{Percent: 0, MinConcurrency: 0}, 1000, 0},
		{retry.BudgetConfig{Percent: 100}, 7, 7},
	} {
		if got := c.config.Limit(c.live); got != c.want {
			t.Errorf("%+v with %d live: %d, want %d", c.config, c.live, got, c.want)
		}
	}
}

// Under any order of taking and giving, what is under way never exceeds the
// limit that held when the last one was taken.
func TestBudgetIsNeverExceeded(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	config := retry.BudgetConfig{Percent: 20, MinConcurrency: 3}
	for range 100 {
		var b retry.Budget
		var live, taken int64
		for range 500 {
			switch {
			case random.IntN(3) > 0:
				live = max(taken, live+random.Int64N(21)-10)
				if b.Take(config, live) {
					taken++
					if taken > config.Limit(live) {
						t.Fatalf("%d retries with %d live", taken, live)
					}
				} else if taken < config.Limit(live) {
					t.Fatalf("refused: %d retries with %d live", taken, live)
				}
			case taken > 0:
				b.Give()
				taken--
			}
			if b.UnderWay() != taken {
				t.Fatalf("%d under way, not %d", b.UnderWay(), taken)
			}
		}
	}
}

func TestBudgetAmongLoops(t *testing.T) {
	var b retry.Budget
	config := retry.BudgetConfig{MinConcurrency: 5}
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	for range 4 {
		wg.Go(func() {
			for range 5000 {
				if !b.Take(config, 0) {
					continue
				}
				if n := b.UnderWay(); n > 5 {
					errs <- fmt.Errorf("%d under way", n)
					return
				}
				b.Give()
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	if b.UnderWay() != 0 {
		t.Fatal("a place was lost")
	}
}
