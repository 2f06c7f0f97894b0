package xds

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"time"
)

// fault is one field of a resource that cannot be taken.
type fault struct {
	field  string
	reason string
}

func (f *fault) Error() string {
	if f.field == "" {
		return f.reason
	}
	return f.field + ": " + f.reason
}

// at prefixes the field of every fault in err with the path of its parent.
func at(parent string, err error) error {
	var f *fault
	if err == nil || !errors.As(err, &f) {
		return err
	}
	field := parent
	switch {
	case f.field == "":
	case strings.HasPrefix(f.field, "["):
		field += f.field
	default:
		field += "." + f.field
	}
	return &fault{field: field, reason: f.reason}
}

// item is at for an element of a repeated field.
func item(field string, i int, err error) error {
	if err == nil {
		return nil
	}
	return at(fmt.Sprintf("%s[%d]", field, i), err)
}

func refuse(field, format string, args ...any) error {
	return &fault{field: field, reason: fmt.Sprintf(format, args...)}
}

// only refuses a message that uses a field which is not among fields. A field
// counts as used when it is populated: a scalar that is not zero, a message that
// is there. Fields that this build does not know at all are refused too, since
// they may well change what the resource means.
func only(m proto.Message, fields ...protoreflect.Name) error {
	var err error
	r := m.ProtoReflect()
	r.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		for _, name := range fields {
			if fd.Name() == name {
				return true
			}
		}
		// The order of Range is random; the first in the order of the
		// declaration makes the answer the same every time.
		if err == nil || string(fd.Name()) < err.(*fault).field {
			err = refuse(string(fd.Name()), "not supported")
		}
		return true
	})
	if err == nil && len(r.GetUnknown()) > 0 {
		err = refuse("", "%s has a field that this version does not know", r.Descriptor().Name())
	}
	return err
}

// unpack decodes the configuration inside an extension; another type is
// refused with its name.
func unpack(a *anypb.Any, into proto.Message) error {
	if a == nil {
		return refuse("", "missing")
	}
	if a.MessageName() != into.ProtoReflect().Descriptor().FullName() {
		return refuse("", "type %q not supported", a.GetTypeUrl())
	}
	if err := proto.Unmarshal(a.GetValue(), into); err != nil {
		return refuse("", "does not decode: %v", err)
	}
	return nil
}

// maxDuration keeps sums of durations far from overflow.
const maxDuration = 24 * time.Hour

// duration converts; nil is 0. Negative and absurdly long ones are refused.
func duration(field string, d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, refuse(field, "%v", err)
	}
	v := d.AsDuration()
	if v < 0 || v > maxDuration {
		return 0, refuse(field, "%v is not between 0 and %v", v, maxDuration)
	}
	return v, nil
}
