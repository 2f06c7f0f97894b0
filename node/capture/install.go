package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/culvert-mesh/culvert/bpf"
)

// The pins of one layout live in one directory, DIR/layout-TAG: a file per map
// and a file link-HOOK per hook. It comes into being whole, by a rename, and
// whatever starts with aside- is the rest of a crash.
const (
	layoutPrefix = "layout-"
	asidePrefix  = "aside-"
	linkPrefix   = "link-"
)

// installation is one attempt to bring programs into the kernel: load, then
// commit. A failure of either leaves no trace.
type installation struct {
	// set at construction
	dir    string
	cgroup string
	step   func(string) error

	// set by load
	live     string // directory of the pins, once committed
	aside    string
	takeover bool
	objects  *bpf.Objects
}

// load verifies the programs with the maps that are pinned, or new ones. It
// changes nothing but to remove what a crash left aside.
func (in *installation) load() error {
	tag, err := bpf.Layout()
	if err != nil {
		return err
	}
	in.live = filepath.Join(in.dir, layoutPrefix+tag)
	in.aside = filepath.Join(in.dir, fmt.Sprintf("%s%d", asidePrefix, os.Getpid()))
	entries, err := os.ReadDir(in.dir)
	if err != nil {
		return fmt.Errorf("list pins: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(in.dir, e.Name())
		switch {
		case path == in.live:
			in.takeover = true
		case strings.HasPrefix(e.Name(), layoutPrefix):
			return fmt.Errorf("%s: %w", path, ErrLayout)
		case strings.HasPrefix(e.Name(), asidePrefix):
			if err := removePins(path); err != nil {
				return fmt.Errorf("remove what a crash left: %w", err)
			}
		}
	}
	if err := in.step("load"); err != nil {
		return err
	}
	pinned := map[string]*ebpf.Map{}
	if in.takeover {
		defer func() {
			for _, m := range pinned {
				m.Close()
			}
		}()
		if err := in.loadPinned(pinned); err != nil {
			return err
		}
	}
	in.objects, err = bpf.Load(pinned)
	return err
}

func (in *installation) loadPinned(pinned map[string]*ebpf.Map) error {
	for name := range (&bpf.Maps{}).Named() {
		m, err := ebpf.LoadPinnedMap(filepath.Join(in.live, name), nil)
		if err != nil {
			return fmt.Errorf("load pinned map %s: %w", name, err)
		}
		pinned[name] = m
	}
	return nil
}

// commit attaches: by replacing the programs in the links that are pinned, each
// in one atomic step, or by new links that appear with their pins.
func (in *installation) commit() (links []link.Link, err error) {
	if err := in.step("make aside"); err != nil {
		return nil, err
	}
	if err := os.Mkdir(in.aside, 0o700); err != nil {
		return nil, fmt.Errorf("make directory aside: %w", err)
	}
	var done []attachment
	defer func() {
		errs := []error{err}
		for i := len(done) - 1; i >= 0 && err != nil; i-- {
			errs = append(errs, done[i].undo())
		}
		for _, a := range done {
			errs = append(errs, a.forget())
		}
		if in.takeover || err != nil {
			errs = append(errs, os.RemoveAll(in.aside))
		}
		err = errors.Join(errs...)
	}()
	if !in.takeover {
		if err := in.pinMaps(); err != nil {
			return nil, err
		}
	}
	for _, h := range in.objects.Hooks() {
		a, err := in.attach(h)
		if err != nil {
			return nil, err
		}
		done = append(done, a)
		links = append(links, a.link)
	}
	return links, in.rename(done)
}

// rename puts what is pinned aside into place. A first installation appears
// whole; later, each rename by itself leaves a working set.
func (in *installation) rename(done []attachment) error {
	if err := in.step("rename"); err != nil {
		return err
	}
	if !in.takeover {
		return os.Rename(in.aside, in.live)
	}
	for _, a := range done {
		if a.before != nil {
			continue
		}
		name := linkPrefix + a.hook
		if err := os.Rename(filepath.Join(in.aside, name), filepath.Join(in.live, name)); err != nil {
			return fmt.Errorf("rename %s into place: %w", name, err)
		}
	}
	return nil
}

func (in *installation) pinMaps() error {
	for name, m := range in.objects.Named() {
		if err := in.step("pin " + name); err != nil {
			return err
		}
		if err := m.Pin(filepath.Join(in.aside, name)); err != nil {
			return fmt.Errorf("pin map %s: %w", name, err)
		}
	}
	return nil
}

// attachment is one hook that runs our program.
type attachment struct {
	hook   string
	link   link.Link
	before *ebpf.Program // what the link ran until now; nil: the link is new
}

func (a attachment) undo() error {
	if a.before == nil {
		// Its pin goes with the directory aside, but the kernel takes its time over that.
		return errors.Join(a.link.Detach(), a.link.Close())
	}
	return errors.Join(a.link.Update(a.before), a.link.Close())
}

func (a attachment) forget() error {
	if a.before == nil {
		return nil
	}
	return a.before.Close()
}

func (in *installation) attach(h bpf.Hook) (attachment, error) {
	if err := in.step("attach " + h.Name); err != nil {
		return attachment{}, err
	}
	old, err := link.LoadPinnedLink(filepath.Join(in.live, linkPrefix+h.Name), nil)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return attachment{}, fmt.Errorf("load pinned link %s: %w", h.Name, err)
	}
	if err == nil {
		a, here, err := in.replace(old, h)
		if here && err == nil {
			return a, nil
		}
		old.Close() // elsewhere: its pin goes when the new one is renamed over it
		if err != nil {
			return attachment{}, fmt.Errorf("replace program of %s: %w", h.Name, err)
		}
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: in.cgroup, Attach: h.Attach, Program: h.Program})
	if err != nil {
		return attachment{}, fmt.Errorf("attach %s to %s: %w", h.Name, in.cgroup, err)
	}
	if err := l.Pin(filepath.Join(in.aside, linkPrefix+h.Name)); err != nil {
		l.Close()
		return attachment{}, fmt.Errorf("pin link %s: %w", h.Name, err)
	}
	return attachment{hook: h.Name, link: l}, nil
}

// replace swaps the program of a link that is alive and on our cgroup, whose
// id is its inode number; here is false for any other link.
func (in *installation) replace(l link.Link, h bpf.Hook) (a attachment, here bool, err error) {
	info, err := l.Info()
	if err != nil {
		return attachment{}, false, err
	}
	var st syscall.Stat_t
	if err := syscall.Stat(in.cgroup, &st); err != nil {
		return attachment{}, false, err
	}
	if cgroup := info.Cgroup(); cgroup == nil || cgroup.CgroupId != st.Ino {
		return attachment{}, false, nil
	}
	before, err := ebpf.NewProgramFromID(info.Program)
	if err != nil {
		return attachment{}, true, err
	}
	if err := l.Update(h.Program); err != nil {
		before.Close()
		return attachment{}, true, err
	}
	return attachment{hook: h.Name, link: l, before: before}, true, nil
}

// removePins detaches the links in a directory of pins, and removes it.
func removePins(dir string) error {
	pins, err := filepath.Glob(filepath.Join(dir, linkPrefix+"*"))
	if err != nil {
		return err
	}
	for _, pin := range pins {
		l, err := link.LoadPinnedLink(pin, nil)
		if err != nil {
			return fmt.Errorf("load pinned link: %w", err)
		}
		if err := errors.Join(l.Detach(), l.Close()); err != nil {
			return fmt.Errorf("detach %s: %w", pin, err)
		}
	}
	return os.RemoveAll(dir)
}
