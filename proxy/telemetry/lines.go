package telemetry

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// linesQueued is how many lines wait for a slow log before further ones are
// dropped and counted.
const linesQueued = 1024

// lines take log lines off the loops: writing one may block, because whoever reads
// the log is slow, and a loop that blocks stalls every connection on it.
type lines struct {
	// set at construction
	log   *slog.Logger
	queue chan slog.Record

	dropped atomic.Uint64
}

func newLines(log *slog.Logger) *lines {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &lines{log: log, queue: make(chan slog.Record, linesQueued)}
}

func (l *lines) enabled(level slog.Level) bool { return l.log.Enabled(context.Background(), level) }

// put queues a line, never waiting.
func (l *lines) put(level slog.Level, message string, attrs ...slog.Attr) {
	line := slog.NewRecord(time.Now(), level, message, 0)
	line.AddAttrs(attrs...)
	select {
	case l.queue <- line:
	default:
		l.dropped.Add(1)
	}
}

func (l *lines) write(line slog.Record) {
	_ = l.log.Handler().Handle(context.Background(), line) // slog drops this error, too
}

// run writes lines until ctx is done, and then those that wait.
func (l *lines) run(ctx context.Context) {
	for {
		select {
		case line := <-l.queue:
			l.write(line)
			continue
		case <-ctx.Done():
		}
		for range len(l.queue) {
			l.write(<-l.queue)
		}
		return
	}
}
