package kernels

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// errUnavailable says that a kernel cannot be had on this machine: no fault of
// what is tested.
var errUnavailable = errors.New("kernel not available")

// flavour is Debian's small kernel for virtual machines. Where capture is
// concerned it is configured as the ordinary one, at a third of the size.
const flavour = "-cloud-amd64"

// kernel is an unpacked kernel package.
type kernel struct {
	release string // as uname -r says
	image   string // vmlinuz
	modules string // the tree below /lib/modules/<release>
}

// findPackage is the newest package of a series ("6.1") that apt's lists have.
func findPackage(ctx context.Context, series string) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "pkgnames", "linux-image-"+series+".").Output()
	if err != nil {
		return "", fmt.Errorf("%w: run apt-cache: %v", errUnavailable, err)
	}
	best := newest(strings.Fields(string(out)), series)
	if best == "" {
		return "", fmt.Errorf("%w: apt's lists have no linux-image-%s.*%s (apt-get update?)", errUnavailable, series, flavour)
	}
	return best, nil
}

func newest(names []string, series string) string {
	best := ""
	for _, n := range names {
		if strings.HasPrefix(n, "linux-image-"+series+".") && strings.HasSuffix(n, flavour) &&
			(best == "" || slices.Compare(version(n), version(best)) > 0) {
			best = n
		}
	}
	return best
}

// version is the numbers in a package's name, in order.
func version(name string) []int {
	var all []int
	for _, digits := range strings.FieldsFunc(strings.TrimSuffix(name, flavour), func(r rune) bool { return r < '0' || r > '9' }) {
		n, _ := strconv.Atoi(digits) // digits only; one that is too big is the biggest
		all = append(all, n)
	}
	return all
}

// fetch downloads and unpacks the newest kernel of a series below cache, or
// finds it there. Nothing is installed.
func fetch(ctx context.Context, cache, series string) (kernel, error) {
	name, err := findPackage(ctx, series)
	if err != nil {
		return kernel{}, err
	}
	release := strings.TrimPrefix(name, "linux-image-")
	dir := filepath.Join(cache, release)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		err = download(ctx, dir, name)
		if err != nil {
			return kernel{}, err
		}
	}
	return kernel{
		release: release,
		image:   filepath.Join(dir, "boot", "vmlinuz-"+release),
		modules: filepath.Join(dir, "lib", "modules", release),
	}, nil
}

// download makes dir, whole or not at all.
func download(ctx context.Context, dir, name string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("make the cache of kernels: %w", err)
	}
	aside, err := os.MkdirTemp(filepath.Dir(dir), "aside-")
	if err != nil {
		return fmt.Errorf("make the cache of kernels: %w", err)
	}
	defer os.RemoveAll(aside)
	if err := run(ctx, aside, "apt-get", "download", "-q", "-o", "Acquire::http::Timeout=20", name); err != nil {
		return fmt.Errorf("%w: %v", errUnavailable, err)
	}
	debs, err := filepath.Glob(filepath.Join(aside, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("download %s: %d packages came, %v", name, len(debs), err)
	}
	tree := filepath.Join(aside, "tree")
	if err := run(ctx, aside, "dpkg-deb", "-x", debs[0], tree); err != nil {
		return err
	}
	err = os.Rename(tree, dir)
	if errors.Is(err, fs.ErrExist) {
		return nil // somebody else was faster
	}
	return err
}

// run runs a command in a directory; its output is in the error.
func run(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
