// Package file owns a directory of policy: it reads the Kubernetes objects in its
// files, notices every change, and keeps the last good version of what was broken
// by an edit. It must not know what objects mean together nor who uses them. A
// Source belongs to the goroutine of its Run; Read is for any goroutine.
//
// Files are *.yaml, *.yml and *.json directly in the directory (as `kubectl apply
// -f DIR`: no sub-directories), in the order of their names; names that begin with
// "." (and so the links of a mounted ConfigMap) or "#" are left out. What a file
// holds is taken over by these rules:
//
//   - A document that is faulty keeps the last good version of its object.
//   - A document that is no YAML, or that is faulty and was not there before, may be
//     any object of the file: while it is there, nothing goes away from the file.
//   - A file that somebody has open for writing is read when it is closed, or when
//     it has been open for holdOff.
//   - A file that cannot be read keeps its objects; one that is gone loses them.
//   - Of several objects with one kind and name the one counts that was there before,
//     or else the first.
package file

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/culvert-mesh/culvert/controlplane/model"
	"github.com/culvert-mesh/culvert/controlplane/objects"
	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long there must be no event before the directory is read, and
	// patience how long events can put that off.
	quiet    = 3 * time.Millisecond
	patience = 25 * time.Millisecond
	// retryWriting is when a file that was open for writing is looked at again.
	retryWriting = 3 * time.Millisecond
	// holdOff is how long a file may stay open for writing before it is read.
	holdOff = 2 * time.Second
	// pollEvery finds what no event tells: links to files elsewhere, network file
	// systems, a directory that was replaced.
	pollEvery = 2 * time.Second
)

// Source is one directory.
type Source struct {
	// set at construction
	log  *slog.Logger
	poll time.Duration

	// owned by Run
	dir *directory
}

// New returns the source of a directory, which need not exist yet.
func New(dir string, log *slog.Logger) *Source {
	return &Source{log: log, poll: pollEvery, dir: newDirectory(dir)}
}

// Read reads a directory once. The error says that the directory itself cannot be
// read; what is wrong in it is in the problems.
func Read(dir string) (*objects.Set, []model.Problem, error) {
	d := newDirectory(dir)
	d.holdOff = 0
	if _, err := d.scan(time.Time{}); err != nil {
		return nil, nil, err
	}
	set, problems := d.objects()
	return set, problems, nil
}

// Run calls apply with all objects at once and after every change of them or of
// the problems, on its own goroutine, until ctx ends. The sets are the caller's to
// keep, not to change. A directory that cannot be read is a problem, not an error;
// until it could be read for the first time the set is nil: nothing is known, which
// is not the same as nothing is there.
func (s *Source) Run(ctx context.Context, apply func(*objects.Set, []model.Problem)) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", s.dir.path, err)
	}
	defer watcher.Close()
	w := &watch{watcher: watcher, path: s.dir.path, log: s.log}
	w.renew()

	next := time.NewTimer(0)
	defer next.Stop()
	var since time.Time // the first event that is not yet answered
	first := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-watcher.Events:
			now := time.Now()
			if since.IsZero() {
				since = now
			}
			next.Reset(max(0, min(quiet, patience-now.Sub(since))))
		case err := <-watcher.Errors:
			// Lost events (a full queue) too: look at everything.
			s.log.Warn("watch policy directory", "dir", s.dir.path, "err", err)
			next.Reset(0)
		case now := <-next.C:
			since = time.Time{}
			w.renew()
			changed, wait := s.look(now)
			next.Reset(wait)
			if changed || first {
				first = false
				apply(s.dir.objects())
			}
		}
	}
}

// look scans once, and says when to look again if nothing happens.
func (s *Source) look(now time.Time) (changed bool, wait time.Duration) {
	changed, err := s.dir.scan(now)
	if err != nil {
		return s.dir.fail(err), s.poll
	}
	if s.dir.writing() {
		return changed, retryWriting
	}
	return changed, s.poll
}

// watch keeps a watcher on a path, whatever directory that is at the moment.
type watch struct {
	watcher *fsnotify.Watcher
	path    string
	log     *slog.Logger
	// on is the directory that is watched; nil: none.
	on os.FileInfo
}

// renew begins to watch a directory that was not there, or was another one.
func (w *watch) renew() {
	info, err := os.Stat(w.path)
	if err == nil && w.on != nil && os.SameFile(info, w.on) {
		return
	}
	if w.on != nil {
		// The kernel has dropped the watch of a deleted directory already; the
		// error says so and nothing else can be done.
		_ = w.watcher.Remove(w.path)
		w.on = nil
	}
	if err != nil {
		return // the scan tells it
	}
	if err := w.watcher.Add(w.path); err != nil {
		w.log.Warn("watch policy directory, polling instead", "dir", w.path, "err", err)
		return
	}
	w.on = info
}
