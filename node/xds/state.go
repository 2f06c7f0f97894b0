package xds

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
)

// stateFile is the last good configuration: a line
//
//	culvert-state 1 <SHA-256 of the rest, hex> <node>
//
// and a DeltaDiscoveryResponse with the resources of every type, exactly as the
// control plane sent them.
const stateFile = "xds.state"

const stateMagic = "culvert-state 1 "

// maxState bounds what is read back, in bytes.
const maxState = 4 * maxMessage

// saveState replaces the state file. A crash at any point leaves the old file or
// the new one.
func saveState(dir, node string, resources []*resource) error {
	all := &discoveryv3.DeltaDiscoveryResponse{}
	resources = slices.Clone(resources)
	slices.SortFunc(resources, func(x, y *resource) int {
		return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.name, y.name))
	})
	for _, r := range slices.Compact(resources) {
		all.Resources = append(all.Resources, &discoveryv3.Resource{Name: r.name, Version: r.version, Resource: r.body})
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(all)
	if err != nil {
		return fmt.Errorf("encode the state: %w", err)
	}
	sum := sha256.Sum256(body)
	header := stateMagic + hex.EncodeToString(sum[:]) + " " + node + "\n"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	temporary := filepath.Join(dir, stateFile+".new")
	if err := writeSynced(temporary, []byte(header), body); err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	if err := os.Rename(temporary, filepath.Join(dir, stateFile)); err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	// The rename itself is on disk only after the directory is.
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	return nil
}

func writeSynced(path string, parts ...[]byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := f.Write(p); err != nil {
			f.Close()
			return err
		}
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// loadState reads the state file; nil without an error when there is none.
func loadState(dir, node string) ([]*discoveryv3.Resource, error) {
	path := filepath.Join(dir, stateFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	if info.Size() > maxState {
		return nil, fmt.Errorf("read the state: %s has %d bytes, more than %d", path, info.Size(), maxState)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	header, body, ok := bytes.Cut(raw, []byte("\n"))
	sum := sha256.Sum256(body)
	want := stateMagic + hex.EncodeToString(sum[:]) + " "
	if !ok || !bytes.HasPrefix(header, []byte(want)) {
		return nil, fmt.Errorf("read the state: %s is damaged or of another version", path)
	}
	if of := string(header[len(want):]); of != node {
		return nil, fmt.Errorf("read the state: %s is of node %q, this is %q", path, of, node)
	}
	all := &discoveryv3.DeltaDiscoveryResponse{}
	if err := proto.Unmarshal(body, all); err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	return all.GetResources(), nil
}

// RemoveState removes the state file of a directory, and the directory when it
// is empty then; nothing there is no error.
func RemoveState(dir string) error {
	if dir == "" {
		return nil
	}
	for _, name := range []string{stateFile, stateFile + ".new"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the state: %w", err)
		}
	}
	// Others may have files there, or it may be a mount: then it stays.
	_ = os.Remove(dir)
	return nil
}
