package file

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/culvert-mesh/culvert/controlplane/model"
	"github.com/culvert-mesh/culvert/controlplane/objects"
	"golang.org/x/sys/unix"
)

// maxFile bounds one file, bytes.
const maxFile = 16 << 20

// errWriting says that somebody has the file open for writing.
var errWriting = errors.New("open for writing")

// directory is what was read so far. Owned by one goroutine.
type directory struct {
	path    string
	holdOff time.Duration
	files   map[string]*contents
	// owner is the file that each live object was taken from last.
	owner map[objects.Key]string
	// known says that the directory could be read once.
	known bool
	// failure is why the directory cannot be read; "": it can.
	failure string
}

func newDirectory(path string) *directory {
	return &directory{path: path, holdOff: holdOff, files: map[string]*contents{}}
}

// stamp changes whenever a file does.
type stamp struct {
	device, inode uint64
	size          int64
	changed       unix.Timespec
}

// scan reads every file that is not as it was. An error leaves everything.
func (d *directory) scan(now time.Time) (changed bool, err error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return false, fmt.Errorf("read policy directory: %w", err)
	}
	changed = d.failure != ""
	d.known, d.failure = true, ""
	seen := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		if !isPolicy(name) {
			continue
		}
		info, err := os.Stat(filepath.Join(d.path, name))
		if err == nil && !info.Mode().IsRegular() || errors.Is(err, fs.ErrNotExist) && e.Type().IsRegular() {
			continue // a sub-directory, or deleted since ReadDir
		}
		seen[name] = true
		if d.file(name, now, info, err) {
			changed = true
		}
	}
	for name := range d.files {
		if !seen[name] {
			delete(d.files, name)
			changed = true
		}
	}
	return changed, nil
}

// fail notes why the directory cannot be read; true: that is news.
func (d *directory) fail(err error) bool {
	news := d.failure != err.Error()
	d.failure = err.Error()
	return news
}

// writing says that a file is left for later.
func (d *directory) writing() bool {
	for _, f := range d.files {
		if !f.writingSince.IsZero() {
			return true
		}
	}
	return false
}

// isPolicy tells policy from hidden files, editors' backups and the rest.
func isPolicy(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") {
		return false
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// file takes over one file if it is not as it was; true: that made a difference.
func (d *directory) file(name string, now time.Time, info fs.FileInfo, err error) bool {
	old := d.files[name]
	if old == nil {
		old = &contents{name: name}
		d.files[name] = old
	}
	if err != nil {
		return old.fail(err)
	}
	if s := stampOf(info); s == old.stamp && old.failure == "" {
		return false
	}
	patient := now.Sub(old.writingSince) < d.holdOff || old.writingSince.IsZero() && d.holdOff > 0
	data, s, err := read(filepath.Join(d.path, name), patient)
	if errors.Is(err, errWriting) {
		if old.writingSince.IsZero() {
			old.writingSince = now
		}
		return false
	}
	old.writingSince = time.Time{}
	if err != nil {
		return old.fail(err)
	}
	next := parse(name, data, old)
	next.stamp = s
	d.files[name] = next
	return true
}

func stampOf(info fs.FileInfo) stamp {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}
	}
	return stamp{s.Dev, s.Ino, s.Size, unix.Timespec(s.Ctim)}
}

// read returns a file's bytes and the stamp that they have. While somebody has it
// open for writing and we are patient, or it changes under our hands: errWriting.
func read(path string, patient bool) ([]byte, stamp, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, stamp{}, err
	}
	defer f.Close()
	if patient && openForWriting(f) {
		return nil, stamp{}, errWriting
	}
	before, err := f.Stat()
	if err != nil {
		return nil, stamp{}, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, stamp{}, err
	}
	if len(data) > maxFile {
		return nil, stamp{}, fmt.Errorf("larger than %d bytes", maxFile)
	}
	after, err := f.Stat()
	if err != nil {
		return nil, stamp{}, err
	}
	if patient && stampOf(before) != stampOf(after) {
		return nil, stamp{}, errWriting
	}
	return data, stampOf(before), nil
}

// openForWriting asks the kernel for a read lease, which it grants only where
// nobody has the file open for writing (fcntl(2), F_SETLEASE), and gives it back.
// File systems without leases count as not open: the quiet time must do there.
func openForWriting(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}

// objects returns everything that is live and everything that is wrong.
func (d *directory) objects() (*objects.Set, []model.Problem) {
	var problems []model.Problem
	if d.failure != "" {
		problems = append(problems, model.Problem{File: d.path, Reason: d.failure})
	}
	if !d.known {
		return nil, problems
	}
	set := &objects.Set{}
	files := make([]*contents, 0, len(d.files))
	for _, f := range d.files {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b *contents) int { return cmp.Compare(a.name, b.name) })

	first := d.owners(files)
	for _, f := range files {
		problems = append(problems, f.problems...)
		if f.failure != "" {
			problems = append(problems, model.Problem{File: f.name, Reason: f.failure})
		}
		for _, e := range f.entries {
			ref := f.ref(e.at, e.object.Key)
			if owner := first[e.object.Key]; owner != ref {
				problems = append(problems, ref.Problem("metadata.name",
					fmt.Sprintf("ignored: it stands at %s:%d already", owner.File, owner.Line)))
				continue
			}
			set.Add(ref, e.object)
		}
	}
	set.Sort()
	return set, model.SortProblems(problems)
}

// owners says where each object is taken from: the first document in the file that
// it was taken from last, so that another file cannot take it over by its name, or
// else in the first file that has it.
func (d *directory) owners(files []*contents) map[objects.Key]model.Ref {
	refs := map[objects.Key]model.Ref{}
	for _, f := range files {
		for _, e := range f.entries {
			k := e.object.Key
			if at, taken := refs[k]; !taken || f.name == d.owner[k] && at.File != f.name {
				refs[k] = f.ref(e.at, k)
			}
		}
	}
	d.owner = make(map[objects.Key]string, len(refs))
	for k, at := range refs {
		d.owner[k] = at.File
	}
	return refs
}
