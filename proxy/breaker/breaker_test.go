package breaker_test

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-mesh/culvert/proxy/breaker"
)

const second = int64(time.Second)

func config() *breaker.Config {
	return &breaker.Config{Consecutive: 3, BaseEjection: time.Second, MaxEjection: 8 * time.Second}
}

// trip makes b open at now, without jitter.
func trip(t *testing.T, b *breaker.Breaker, c *breaker.Config, now int64) {
	t.Helper()
	for range c.Consecutive - 1 {
		if got := b.Failure(c, now, 0, false); got != breaker.None {
			t.Fatalf("too early: %v", got)
		}
	}
	if got := b.Failure(c, now, 0, false); got != breaker.Ripe {
		t.Fatalf("after %d failures: %v, not Ripe", c.Consecutive, got)
	}
	if !b.Open(c, now, 0) {
		t.Fatal("Open refused a ripe breaker")
	}
}

// probe takes the probe at now, which must be there.
func probe(t *testing.T, b *breaker.Breaker, now int64) {
	t.Helper()
	if ok, is := b.Admit(now); !ok || !is {
		t.Fatalf("Admit(%d) = %v, %v: no probe", now, ok, is)
	}
	if ok, _ := b.Admit(now); ok || !b.Refuses(now) {
		t.Fatal("a second request passed beside the probe")
	}
}

func TestGrowthDoublesToTheBoundAndIsForgotten(t *testing.T) {
	var b breaker.Breaker
	c, now := config(), 100*second
	trip(t, &b, c, now)
	for _, seconds := range []int64{1, 2, 4, 8, 8, 8} {
		end := now + seconds*second
		if b.Until() != end {
			t.Fatalf("ejected until %d, not %d", b.Until(), end)
		}
		if ok, _ := b.Admit(end - 1_000_000); ok {
			t.Fatal("admitted before its time")
		}
		probe(t, &b, end)
		if got := b.Failure(c, end, 0, true); got != breaker.Reopened {
			t.Fatalf("failed probe: %v", got)
		}
		now = end
	}
	now = b.Until()
	probe(t, &b, now)
	if got := b.Success(true); got != breaker.Recovered {
		t.Fatalf("good probe: %v", got)
	}
	trip(t, &b, c, now)
	if b.Until() != now+second {
		t.Fatal("the growth was not forgotten")
	}
}

func TestSuccessBreaksTheRow(t *testing.T) {
	var b breaker.Breaker
	c := config()
	for range 10 {
		b.Failure(c, 0, 0, false)
		b.Failure(c, 0, 0, false)
		b.Success(false)
	}
	if b.State() != breaker.Closed || b.Failures() != 0 || b.Open(c, 0, 0) {
		t.Fatal("failures that were not in a row counted")
	}
}

func TestOldNewsChangesNothing(t *testing.T) {
	var b breaker.Breaker
	c := config()
	trip(t, &b, c, 0)
	until := b.Until()
	b.Success(false)
	b.Failure(c, second/2, 0, false)
	if b.State() != breaker.Open || b.Until() != until {
		t.Fatal("the outcome of an old request moved an open breaker")
	}
	probe(t, &b, until)
	b.Success(false)
	b.Failure(c, until, 0, false)
	if b.State() != breaker.HalfOpen {
		t.Fatal("the outcome of an old request settled the probe")
	}
	if b.Abandon(true) != breaker.Abandoned {
		t.Fatal("the probe could not be given back")
	}
	probe(t, &b, until)
}

func TestJitterShortensByAFifthAtMost(t *testing.T) {
	c := config()
	for _, random := range []uint64{0, 1, math.MaxUint64 / 2, math.MaxUint64} {
		var b breaker.Breaker
		for range c.Consecutive {
			b.Failure(c, 0, random, false)
		}
		b.Open(c, 0, random)
		if b.Until() < second*8/10 || b.Until() > second {
			t.Fatalf("random %d: until %d", random, b.Until())
		}
	}
}

func TestDisabledLearnsNothing(t *testing.T) {
	var b breaker.Breaker
	c := config()
	c.Disabled = true
	for range 100 {
		if b.Failure(c, 0, 0, false) != breaker.None || b.Open(c, 0, 0) {
			t.Fatal("a disabled breaker changed")
		}
	}
}

// model is the breaker without the packing: the obvious struct.
type model struct {
	state    breaker.State
	failures int
	growth   int
	until    int64
}

func (m *model) ejection(c *breaker.Config) int64 {
	d := c.BaseEjection
	for range m.growth {
		d = min(d*2, c.MaxEjection)
	}
	return int64(d)
}

func TestAgainstTheModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	c := config()
	for range 200 {
		var b breaker.Breaker
		var m model
		probing, now := false, random.Int64N(1<<38)*int64(time.Millisecond)
		for step := range 300 {
			now += random.Int64N(3000) * int64(time.Millisecond)
			isProbe := probing && random.IntN(2) == 0
			switch random.IntN(6) {
			case 0, 1:
				ok, is := b.Admit(now)
				wantOK, wantIs := m.admit(now)
				if ok != wantOK || is != wantIs {
					t.Fatalf("step %d: admit %v %v, model %v %v", step, ok, is, wantOK, wantIs)
				}
				probing = probing || is
			case 2:
				b.Success(isProbe)
				m.success(isProbe)
				probing = probing && !isProbe
			case 3, 4:
				if b.Failure(c, now, 0, isProbe) == breaker.Ripe && random.IntN(3) > 0 {
					b.Open(c, now, 0)
					m.failure(c, now, isProbe)
					m.state, m.until = breaker.Open, now+m.ejection(c)
				} else {
					m.failure(c, now, isProbe)
				}
				probing = probing && !isProbe
			case 5:
				b.Abandon(isProbe)
				if isProbe && m.state == breaker.HalfOpen {
					m.state, m.until = breaker.Open, 0
				}
				probing = probing && !isProbe
			}
			if b.State() != m.state || int(b.Failures()) != m.failures {
				t.Fatalf("step %d: %v %d, model %+v", step, b.State(), b.Failures(), m)
			}
			if wait := b.Until() - m.until; m.state == breaker.Open && (wait < 0 || wait > 1_000_000) {
				t.Fatalf("step %d: until %d, model %d", step, b.Until(), m.until)
			}
		}
	}
}

func (m *model) admit(now int64) (ok, probe bool) {
	switch {
	case m.state == breaker.Closed:
		return true, false
	case now >= m.until:
		m.state, m.until = breaker.HalfOpen, now+int64(breaker.ProbePatience)
		return true, true
	}
	return false, false
}

func (m *model) success(probe bool) {
	if m.state == breaker.Closed || probe && m.state == breaker.HalfOpen {
		*m = model{}
	}
}

func (m *model) failure(c *breaker.Config, now int64, probe bool) {
	switch {
	case m.state == breaker.Closed:
		m.failures++
	case m.state == breaker.HalfOpen && probe:
		m.growth++
		m.state, m.until = breaker.Open, now+m.ejection(c)
	}
}

// A probe may wait for its response for hours.
func TestSlowProbeIsNotTheOnlyOne(t *testing.T) {
	var b breaker.Breaker
	c, now := config(), 100*second
	trip(t, &b, c, now)
	now = b.Until()
	probe(t, &b, now)
	now += int64(breaker.ProbePatience)
	if ok, _ := b.Admit(now - 1_000_000); ok {
		t.Fatal("a second probe passed too early")
	}
	probe(t, &b, now)
	if got := b.Success(true); got != breaker.Recovered {
		t.Fatalf("good second probe: %v", got)
	}
	if got := b.Abandon(true); got != breaker.None || b.State() != breaker.Closed {
		t.Fatalf("the first one's end: %v, %v", got, b.State())
	}
}

// Several loops ask at the moment that a probe is due: one of them gets it.
func TestOneProbeAmongManyLoops(t *testing.T) {
	c := config()
	for range 200 {
		var b breaker.Breaker
		trip(t, &b, c, 0)
		due := b.Until()
		var probes atomic.Int32
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, is := b.Admit(due); is {
					probes.Add(1)
				}
			})
		}
		wg.Wait()
		if probes.Load() != 1 {
			t.Fatalf("%d probes", probes.Load())
		}
	}
}

func BenchmarkClosed(b *testing.B) {
	var br breaker.Breaker
	for i := range b.N {
		br.Admit(int64(i))
		br.Success(false)
	}
}
