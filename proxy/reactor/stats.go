package reactor

import (
	"sync/atomic"
	"time"
)

// counters are kept by the loop in plain fields and published once per turn.
type counters struct {
	// owned by the loop
	turns, events, panics, timers, acceptErrors uint64
	busy                                        int64
	turnStart                                   int64
	longest                                     int64 // turn since window
	window                                      int64

	// written by the loop, read by anybody
	conns                     atomic.Int64
	live, idle, lag, busyTime atomic.Int64
	turnCount, eventCount     atomic.Uint64
	panicCount, timerCount    atomic.Uint64
	acceptErrorCount          atomic.Uint64
}

// lap ends one turn and begins the next without a wait between them.
func (s *counters) lap(now int64) {
	if s.turnStart != 0 {
		s.busy += now - s.turnStart
		s.longest = max(s.longest, now-s.turnStart)
	}
	s.turnStart = now
}

// resume begins a turn after a wait.
func (s *counters) resume(now int64) { s.turnStart = now }

func (s *counters) publish(l *Loop) {
	s.turns++
	s.events += uint64(l.eventsEnd)
	if l.now-s.window >= int64(time.Second) {
		s.lag.Store(s.longest)
		s.longest, s.window = 0, l.now
	}
	s.turnCount.Store(s.turns)
	s.eventCount.Store(s.events)
	s.busyTime.Store(s.busy)
	s.live.Store(int64(l.pool.live))
	s.idle.Store(int64(len(l.pool.idle)))
	s.timerCount.Store(s.timers)
	s.panicCount.Store(s.panics)
	s.acceptErrorCount.Store(s.acceptErrors)
}

func (s *counters) read() LoopStats {
	return LoopStats{
		Turns: s.turnCount.Load(), Events: s.eventCount.Load(), Panics: s.panicCount.Load(),
		Timers: s.timerCount.Load(), AcceptErrors: s.acceptErrorCount.Load(),
		Busy: time.Duration(s.busyTime.Load()), Lag: time.Duration(s.lag.Load()),
		Conns: s.conns.Load(), Coroutines: s.live.Load(), IdleCoroutines: s.idle.Load(),
	}
}
