package bpf

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// Layout is a short tag of every map's shape, down to names and offsets of
// fields and the meaning of counters. Two builds with the same tag may share pinned maps; sizes alone
// would not tell when a field changes its meaning.
func Layout() (string, error) {
	spec, err := loadCapture()
	if err != nil {
		return "", err
	}
	h := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys((&Maps{}).Named())) {
		m := spec.Maps[name]
		fmt.Fprintf(h, "%s %d %d %d %d %d", name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags)
		for _, t := range []btf.Type{m.Key, m.Value} {
			fmt.Fprintf(h, " %s", shape(t))
		}
	}
	for r := range Reasons { // the counters' keys, which are bare numbers to the map
		fmt.Fprintf(h, " %s", ReasonName(Reason(r)))
	}
	return fmt.Sprintf("%016x", h.Sum64()), nil
}

// shape is a type in words. Typedef names do not count, values of enums do.
func shape(t btf.Type) string {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		s := "{"
		for _, m := range t.Members {
			s += fmt.Sprintf("%s@%d:%s;", m.Name, m.Offset, shape(m.Type))
		}
		return s + "}"
	case *btf.Array:
		return fmt.Sprintf("[%d]%s", t.Nelems, shape(t.Type))
	case *btf.Enum:
		return fmt.Sprint("enum", t.Values)
	case *btf.Int:
		return fmt.Sprint("int", t.Size)
	default:
		return fmt.Sprintf("%T", t)
	}
}
