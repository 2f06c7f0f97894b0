package xds

import (
	"math/rand/v2"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// mutate changes one thing in a message: a field set, cleared, or changed in
// place, at a random depth, inside of Any too. Bytes that a fuzzer flips hardly
// ever make another valid resource; this always does.
func mutate(r *rand.Rand, m protoreflect.Message) {
	if a, ok := m.Interface().(*anypb.Any); ok {
		inner, err := a.UnmarshalNew()
		if err != nil {
			return
		}
		mutate(r, inner.ProtoReflect())
		if b, err := proto.Marshal(inner); err == nil {
			a.Value = b
		}
		return
	}
	fields := m.Descriptor().Fields()
	if fields.Len() == 0 {
		return
	}
	// Mostly go where there is something; now and then use a new field.
	fd := fields.Get(r.IntN(fields.Len()))
	if r.IntN(8) > 0 {
		for range 2 * fields.Len() {
			if m.Has(fd) {
				break
			}
			fd = fields.Get(r.IntN(fields.Len()))
		}
	}
	switch {
	case m.Has(fd) && r.IntN(10) == 0:
		m.Clear(fd)
	case fd.IsMap():
	case fd.IsList():
		mutateList(r, m, fd)
	case fd.Message() != nil:
		mutate(r, m.Mutable(fd).Message())
	default:
		m.Set(fd, scalar(r, fd))
	}
}

func mutateList(r *rand.Rand, m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	list := m.Mutable(fd).List()
	n := list.Len()
	switch what := r.IntN(6); {
	case what == 0 && n > 0:
		list.Truncate(r.IntN(n))
	case what == 1 && n > 0: // the same one twice
		if fd.Message() != nil {
			list.Append(protoreflect.ValueOfMessage(proto.Clone(list.Get(r.IntN(n)).Message().Interface()).ProtoReflect()))
		} else {
			list.Append(list.Get(r.IntN(n)))
		}
	case n == 0 && fd.Message() != nil:
		list.AppendMutable()
	case n == 0:
		list.Append(scalar(r, fd))
	case fd.Message() != nil:
		mutate(r, list.Get(r.IntN(n)).Message())
	default:
		list.Set(r.IntN(n), scalar(r, fd))
	}
}

// words are values that some field gives a meaning to.
var words = []string{"", "/", "/a", "/a/", "a/b:80", "a/c:80", "a/d:80", "invalid-backend", "*", ":method", "host", "x-a", "%%", "%", "(", ".*",
	"10.0.0.1", "10.0.0.9", "::", "::ffff:10.0.0.1", "fe80::1%1", "0.0.0.0", "5xx,reset", "retriable-status-codes", "closed", "\x00", "http/1.1"}

var numbers = []uint64{0, 1, 2, 3, 80, 100, 200, 302, 500, 503, 600, 65535, 65536, 1<<31 - 1, 1<<32 - 1, 1<<63 - 1, 1<<64 - 1}

func scalar(r *rand.Rand, fd protoreflect.FieldDescriptor) protoreflect.Value {
	n := numbers[r.IntN(len(numbers))]
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n&1 == 1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n % 8))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(words[r.IntN(len(words))])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(words[r.IntN(len(words))]))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(n))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(n))
	}
	return protoreflect.ValueOfUint64(n)
}
