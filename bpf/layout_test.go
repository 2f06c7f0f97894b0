package bpf

import (
	"reflect"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// TestLayoutOfStructs compares each struct of C, by BTF, with its Go twin.
func TestLayoutOfStructs(t *testing.T) {
	spec, err := loadCapture()
	if err != nil {
		t.Fatal(err)
	}
	for name, twin := range map[string]any{
		"address": Address{}, "origin": Origin{}, "workload": Workload{}, "heartbeat": Heartbeat{}, "slot_key": SlotKey{},
		"slot": Slot{}, "remembered": captureRemembered{}, "decision": captureDecision{}, "question": captureQuestion{},
	} {
		var c *btf.Struct
		if err := spec.Types.TypeByName(name, &c); err != nil {
			t.Fatal(err)
		}
		g := reflect.TypeOf(twin)
		if uintptr(c.Size) != g.Size() {
			t.Errorf("%s: %d bytes in C, %d in Go", name, c.Size, g.Size())
		}
		next := uint32(0)
		for i, m := range c.Members {
			f := g.Field(i + 1) // after structs.HostLayout
			size, err := btf.Sizeof(m.Type)
			if err != nil {
				t.Fatal(err)
			}
			if uintptr(m.Offset.Bytes()) != f.Offset || uintptr(size) != f.Type.Size() {
				t.Errorf("%s.%s: %d bytes at %d in C, %s: %d at %d in Go", name, m.Name, size, m.Offset.Bytes(), f.Name, f.Type.Size(), f.Offset)
			}
			if m.Offset.Bytes() != next {
				t.Errorf("%s.%s: %d bytes of padding before it are not explicit", name, m.Name, m.Offset.Bytes()-next)
			}
			next = m.Offset.Bytes() + uint32(size)
		}
		if next != c.Size {
			t.Errorf("%s: %d bytes of padding at its end are not explicit", name, c.Size-next)
		}
	}
}

// TestLayoutOfMaps: whatever Go passes for a key or a value has the map's size.
func TestLayoutOfMaps(t *testing.T) {
	spec, err := loadCapture()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]any{
		"workloads": {uint64(0), Workload{}}, "origins": {Address{}, Origin{}}, "endpoints": {SlotKey{}, Slot{}},
		"balanced": {uint32(0), uint64(0)}, "heartbeats": {uint32(0), Heartbeat{}}, "reasons": {uint32(0), uint64(0)},
		"own_sockets": {uint32(0), uint32(0)},
	} {
		m := spec.Maps[name]
		if uintptr(m.KeySize) != reflect.TypeOf(want[0]).Size() || uintptr(m.ValueSize) != reflect.TypeOf(want[1]).Size() {
			t.Errorf("%s: %d and %d bytes in C, %T and %T in Go", name, m.KeySize, m.ValueSize, want[0], want[1])
		}
		if len(name) > 15 {
			t.Errorf("%s: the kernel cuts names at 15", name)
		}
	}
}

// TestNoKernelTypes: no instruction waits for the kernel's own BTF (CO-RE), which
// a kernel need not have: the README does not ask for it.
func TestNoKernelTypes(t *testing.T) {
	spec, err := loadCapture()
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range spec.Programs {
		for i := range p.Instructions {
			if r := btf.CORERelocationMetadata(&p.Instructions[i]); r != nil {
				t.Errorf("%s, instruction %d: %v", name, i, r)
			}
		}
	}
}

func TestReasonNames(t *testing.T) {
	seen := map[string]bool{"unknown": true}
	for r := range Reasons {
		name := ReasonName(Reason(r))
		if seen[name] {
			t.Errorf("reason %d is %q, which is taken", r, name)
		}
		seen[name] = true
	}
}

// TestLoad: only what production uses, and it fits into its own pinned maps again.
func TestLoad(t *testing.T) {
	needRoot(t)
	first, err := Load(nil)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer first.Close()
	second, err := Load(first.Named())
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer second.Close()
	for name, m := range second.Named() {
		a, errA := m.Info()
		b, errB := first.Named()[name].Info()
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		idA, _ := a.ID()
		idB, _ := b.ID()
		if idA != idB {
			t.Errorf("%s was made anew", name)
		}
	}
	other, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := Load(map[string]*ebpf.Map{"workloads": other}); err == nil {
		t.Error("a map of another layout was taken")
	}
}

// TestOldKernel: without bpf_set_retval the object loads too, as 5.15 needs.
func TestOldKernel(t *testing.T) {
	needRoot(t)
	o, err := load(nil, 0)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	o.Close()
}
