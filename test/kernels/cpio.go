package kernels

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// archive writes an initramfs: the "newc" format of cpio, as the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst has it. Files are
// root's, of 1970, and their directories come by themselves.
type archive struct {
	to    io.Writer
	inode int
	made  map[string]bool // directories
	err   error           // the first; everything after it does nothing
}

func newArchive(to io.Writer) *archive {
	return &archive{to: to, made: map[string]bool{".": true}}
}

// What stat(2) calls S_IFREG and S_IFDIR.
const (
	regular   = 0o100000
	directory = 0o040000
)

// file adds a file; name has no leading slash.
func (a *archive) file(name string, mode fs.FileMode, data []byte) {
	a.dir(path.Dir(name))
	a.entry(name, regular|uint32(mode.Perm()), data)
}

// copy adds a file of this machine.
func (a *archive) copy(name string, mode fs.FileMode, from string) {
	data, err := os.ReadFile(from)
	if err != nil && a.err == nil {
		a.err = fmt.Errorf("read for the initramfs: %w", err)
	}
	a.file(name, mode, data)
}

func (a *archive) dir(name string) {
	if a.made[name] {
		return
	}
	a.made[name] = true
	a.dir(path.Dir(name))
	a.entry(name, directory|0o755, nil)
}

// entry writes one header, name and content, each padded to four bytes.
func (a *archive) entry(name string, mode uint32, data []byte) {
	a.inode++
	fields := []uint32{
		uint32(a.inode), mode, 0, 0, 1, 0, // inode, mode, uid, gid, links, mtime
		uint32(len(data)), 0, 0, 0, 0, // size, device, device of a node
		uint32(len(name) + 1), 0, // length of the name, checksum
	}
	var b bytes.Buffer
	b.WriteString("070701")
	for _, f := range fields {
		fmt.Fprintf(&b, "%08X", f)
	}
	b.WriteString(name + "\x00")
	pad(&b)
	b.Write(data)
	pad(&b)
	if a.err == nil {
		_, a.err = a.to.Write(b.Bytes())
	}
}

// pad fills up to a multiple of four. Every entry starts at one.
func pad(b *bytes.Buffer) { b.Write(make([]byte, -b.Len()&3)) }

// close ends the archive and returns the first error.
func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil)
	return a.err
}
