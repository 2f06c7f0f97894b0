// Package bpf owns the kernel object of Culvert: programs that capture a
// connect, their maps, and the Go twins of their structs. It knows nothing of
// pinning, attaching, namespaces or policy; node/capture, its only caller,
// does. Objects may be used from any goroutine.
package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// Twins of the structs in types.h, made from BTF.
type (
	Address   = captureAddress
	Origin    = captureOrigin
	Workload  = captureWorkload
	Heartbeat = captureHeartbeat
	SlotKey   = captureSlotKey
	Slot      = captureSlot
	Mode      = captureMode
	Stance    = captureStance
	Reason    = captureReason
)

// Values of types.h.
const (
	Released Mode = captureModeMODE_RELEASED
	Proxy    Mode = captureModeMODE_PROXY
	Kernel   Mode = captureModeMODE_KERNEL

	Open   Stance = captureStanceSTANCE_OPEN
	Closed Stance = captureStanceSTANCE_CLOSED

	// Reasons is how many there are.
	Reasons = int(captureReasonREASON_COUNT)
	// MaxLoops is how many loops one process may stamp for.
	MaxLoops = len(Heartbeat{}.Stamp)
)

// ReasonName is the label of r: a closed set in lower case.
func ReasonName(r Reason) string {
	switch r {
	case captureReasonREASON_NOT_TCP:
		return "not_tcp"
	case captureReasonREASON_NOT_ENROLLED:
		return "not_enrolled"
	case captureReasonREASON_BOUND_DEVICE:
		return "bound_device"
	case captureReasonREASON_UNKNOWN_ORIGIN:
		return "unknown_origin"
	case captureReasonREASON_OWN_SOCKET:
		return "own_socket"
	case captureReasonREASON_TO_PROXY:
		return "to_proxy"
	case captureReasonREASON_AWAY_OPEN:
		return "away_open"
	case captureReasonREASON_AWAY_CLOSED:
		return "away_closed"
	case captureReasonREASON_TO_ENDPOINT:
		return "to_endpoint"
	case captureReasonREASON_NO_ENDPOINT:
		return "no_endpoint"
	case captureReasonREASON_UNREMEMBERED:
		return "unremembered"
	}
	return "unknown"
}

// MakeAddress is the kernel's form of a: 16 bytes, IPv4 mapped.
func MakeAddress(a netip.AddrPort) Address {
	return Address{Addr: Words(a.Addr()), Port: NetworkPort(a.Port())}
}

// AddrPort is the address in a; IPv4 comes out as IPv4.
func (a captureAddress) AddrPort() netip.AddrPort {
	var b [16]byte
	for i, w := range a.Addr {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(b).Unmap(), NetworkPort(a.Port))
}

// Words is a as four words in network order, IPv4 mapped.
func Words(a netip.Addr) (words [4]uint32) {
	b := a.As16()
	for i := range words {
		words[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return words
}

// NetworkPort turns a port between host and network order, either way.
func NetworkPort(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

// Hook is one program and the name of the cgroup hook it is for.
type Hook struct {
	Name    string
	Program *ebpf.Program
	Attach  ebpf.AttachType
}

// Maps are those that production uses.
type Maps struct {
	Workloads    *ebpf.Map `ebpf:"workloads"`
	Origins      *ebpf.Map `ebpf:"origins"`
	Endpoints    *ebpf.Map `ebpf:"endpoints"`
	Balanced     *ebpf.Map `ebpf:"balanced"`
	Heartbeats   *ebpf.Map `ebpf:"heartbeats"`
	Reasons      *ebpf.Map `ebpf:"reasons"`
	OriginBySock *ebpf.Map `ebpf:"origin_by_sock"`
	OwnSockets   *ebpf.Map `ebpf:"own_sockets"`
}

// Programs are those that production attaches.
type Programs struct {
	Connect4     *ebpf.Program `ebpf:"connect4"`
	Connect6     *ebpf.Program `ebpf:"connect6"`
	Getpeername4 *ebpf.Program `ebpf:"getpeername4"`
	Getpeername6 *ebpf.Program `ebpf:"getpeername6"`
	Getsockname4 *ebpf.Program `ebpf:"getsockname4"`
	Getsockname6 *ebpf.Program `ebpf:"getsockname6"`
}

// Objects is the loaded object. The test program and its map are not in it,
// and so are never loaded.
type Objects struct {
	Maps
	Programs
}

// Load verifies the programs and gives them the maps in pinned, which must
// have the object's own layout, and new ones where pinned has none. The
// caller closes the result, and its own maps.
func Load(pinned map[string]*ebpf.Map) (*Objects, error) {
	canSet, err := probeSetRetval()
	if err != nil {
		return nil, err
	}
	return load(pinned, canSet)
}

func load(pinned map[string]*ebpf.Map, canSet uint32) (*Objects, error) {
	spec, err := loadCapture()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables[captureVarCanSetRetval].Set(canSet); err != nil {
		return nil, fmt.Errorf("set constant: %w", err)
	}
	objects := new(Objects)
	if err := spec.LoadAndAssign(objects, &ebpf.CollectionOptions{MapReplacements: pinned}); err != nil {
		return nil, fmt.Errorf("load object: %w", err)
	}
	return objects, nil
}

// probeSetRetval is 1 where sock_addr programs may name the error of a refusal.
func probeSetRetval() (uint32, error) {
	err := features.HaveProgramHelper(ebpf.CGroupSockAddr, asm.FnSetRetval)
	if errors.Is(err, ebpf.ErrNotSupported) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("probe bpf_set_retval: %w", err)
	}
	return 1, nil
}

// Named is the maps by name.
func (m *Maps) Named() map[string]*ebpf.Map {
	return map[string]*ebpf.Map{
		captureMapWorkloads:    m.Workloads,
		captureMapOrigins:      m.Origins,
		captureMapEndpoints:    m.Endpoints,
		captureMapBalanced:     m.Balanced,
		captureMapHeartbeats:   m.Heartbeats,
		captureMapReasons:      m.Reasons,
		captureMapOriginBySock: m.OriginBySock,
		captureMapOwnSockets:   m.OwnSockets,
	}
}

// Hooks is the programs in the order to attach them: the names that an
// application reads come before the rewriting that makes them necessary.
func (p *Programs) Hooks() []Hook {
	return []Hook{
		{captureProgGetpeername4, p.Getpeername4, ebpf.AttachCgroupInet4GetPeername},
		{captureProgGetpeername6, p.Getpeername6, ebpf.AttachCgroupInet6GetPeername},
		{captureProgGetsockname4, p.Getsockname4, ebpf.AttachCgroupInet4GetSockname},
		{captureProgGetsockname6, p.Getsockname6, ebpf.AttachCgroupInet6GetSockname},
		{captureProgConnect4, p.Connect4, ebpf.AttachCGroupInet4Connect},
		{captureProgConnect6, p.Connect6, ebpf.AttachCGroupInet6Connect},
	}
}

// Close gives up the descriptors; pinned maps and attached programs live on.
func (o *Objects) Close() error {
	var errs []error
	for _, m := range o.Named() {
		errs = append(errs, m.Close())
	}
	for _, h := range o.Hooks() {
		errs = append(errs, h.Program.Close())
	}
	return errors.Join(errs...)
}

// Exempt marks the socket fd as the proxy's own, so that its connects pass.
// One system call and no allocation: it is on the path of each new upstream
// connection. Safe from any goroutine.
func (o *Objects) Exempt(fd int) error {
	// First: a call after the addresses below were taken could move the stack that they are on.
	mapFD := uint32(o.OwnSockets.FD())
	key, value := int32(fd), uint32(1)
	attr := struct {
		mapFD uint32
		_     uint32
		key   uint64
		value uint64
		flags uint64
	}{mapFD: mapFD, key: uint64(uintptr(unsafe.Pointer(&key))), value: uint64(uintptr(unsafe.Pointer(&value)))}
	const updateElem = 2 // BPF_MAP_UPDATE_ELEM
	_, _, errno := unix.RawSyscall(unix.SYS_BPF, updateElem, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(&key)
	runtime.KeepAlive(&value)
	if errno != 0 {
		return errno
	}
	return nil
}
