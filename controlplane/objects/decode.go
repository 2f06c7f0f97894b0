package objects

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/culvert-mesh/culvert/controlplane/gatewayapi"
	"github.com/culvert-mesh/culvert/controlplane/model"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Decode reads one document of YAML or JSON: strictly, so that a field that is
// unknown or given twice is a fault. An Object with a Value is complete and fit
// for a Set; on any fault Value is nil, and Key is what could be told of it: zero
// when the document is not YAML at all.
func Decode(document []byte) (Object, []model.Fault) {
	text, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return Object{}, []model.Fault{{Reason: "parse: " + err.Error()}}
	}
	var head struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, &head); err != nil {
		return Object{}, []model.Fault{{Reason: "parse: " + reason(err)}}
	}
	key := Key{Kind: head.Kind, Name: model.Name{Namespace: head.Metadata.Namespace, Name: head.Metadata.Name}}
	value, check := kindOf(head.APIVersion, head.Kind)
	if value == nil {
		return Object{Key: key}, []model.Fault{unknownKind(head.TypeMeta)}
	}
	if key.Name.Namespace == "" {
		key.Name.Namespace = metav1.NamespaceDefault
	}
	if head.Kind == "Namespace" {
		key.Name.Namespace = ""
	}
	faults := checkName(key.Name)
	faults = append(faults, strict(text, value)...)
	if len(faults) == 0 {
		faults = check()
	}
	if len(faults) > 0 {
		return Object{Key: key}, faults
	}
	return Object{Key: key, Value: value}, nil
}

// kindOf makes an empty value of a kind and the check for it; nil: not read.
func kindOf(apiVersion, kind string) (any, func() []model.Fault) {
	none := func() []model.Fault { return nil }
	switch apiVersion + " " + kind {
	case "v1 Namespace":
		v := &corev1.Namespace{}
		return v, func() []model.Fault { return checkMesh(v.Labels) }
	case "v1 Pod":
		v := &corev1.Pod{}
		return v, func() []model.Fault { return checkPod(v) }
	case "v1 Service":
		v := &corev1.Service{}
		return v, func() []model.Fault { return checkService(v) }
	case "discovery.k8s.io/v1 EndpointSlice":
		v := &discoveryv1.EndpointSlice{}
		return v, func() []model.Fault { return checkSlice(v) }
	case "gateway.networking.k8s.io/v1 HTTPRoute":
		v := &gwv1.HTTPRoute{}
		return v, func() []model.Fault { return gatewayapi.Check(v) }
	case "gateway.networking.k8s.io/v1 ReferenceGrant", "gateway.networking.k8s.io/v1beta1 ReferenceGrant":
		return &gwv1.ReferenceGrant{}, none
	}
	return nil, nil
}

func unknownKind(t metav1.TypeMeta) model.Fault {
	switch {
	case t.Kind == "":
		return model.Fault{Field: "kind", Reason: "required"}
	case t.APIVersion == "":
		return model.Fault{Field: "apiVersion", Reason: "required"}
	}
	return model.Fault{Field: "kind", Reason: fmt.Sprintf("%s %s is not read by Culvert", t.APIVersion, t.Kind)}
}

// strict decodes into value; every field that is unknown or repeated is a fault.
func strict(text []byte, value any) []model.Fault {
	unknown, err := kjson.UnmarshalStrict(text, value)
	if err != nil {
		field, _, _ := mismatch(err)
		return []model.Fault{{Field: field, Reason: reason(err)}}
	}
	var faults []model.Fault
	for _, e := range unknown {
		var fe kjson.FieldError
		if !errors.As(e, &fe) {
			faults = append(faults, model.Fault{Reason: e.Error()})
			continue
		}
		faults = append(faults, model.Fault{Field: fe.FieldPath(), Reason: fieldReason(e.Error())})
	}
	return faults
}

// fieldReason turns `unknown field "spec.x"` into "unknown field": the path is
// told in the fault already.
func fieldReason(s string) string {
	before, _, _ := strings.Cut(s, ` "`)
	return before
}

// mismatch reads the decoder's words on a value of the wrong type: its error type
// is internal to it.
func mismatch(err error) (field, words string, ok bool) {
	m := regexp.MustCompile(`cannot unmarshal (.+) into Go (?:struct field [^. ]*\.(\S+)|value) of type (\S+)`).
		FindStringSubmatch(err.Error())
	if m == nil {
		return "", "", false
	}
	return m[2], fmt.Sprintf("%s where %s is wanted", m[1], m[3]), true
}

func reason(err error) string {
	if _, words, ok := mismatch(err); ok {
		return words
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// checkName holds names to what may stand in a resource name on the wire.
func checkName(n model.Name) []model.Fault {
	var faults []model.Fault
	if !validName(n.Name) {
		faults = append(faults, model.Fault{Field: "metadata.name", Reason: fmt.Sprintf("%q is not a name (RFC 1123)", n.Name)})
	}
	if n.Namespace != "" && !validName(n.Namespace) {
		faults = append(faults, model.Fault{Field: "metadata.namespace",
			Reason: fmt.Sprintf("%q is not a name (RFC 1123)", n.Namespace)})
	}
	return faults
}

func validName(s string) bool {
	ok, _ := regexp.MatchString(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`, s)
	return ok && len(s) <= 253
}

// Documents splits a file at its "---" and "..." lines (YAML 1.2, 9.1.2: in no
// other place may they begin a line), leaving out documents that hold nothing but
// comments. The n-th result is nil for such a one, so that indices count them.
func Documents(file []byte) [][]byte {
	var out [][]byte
	start, at := 0, 0
	flush := func(end int) {
		document := file[start:end]
		if blank(document) {
			document = nil
		}
		out = append(out, document)
	}
	for at < len(file) {
		end := len(file)
		if i := bytes.IndexByte(file[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if marker(file[at:end]) {
			if at > 0 {
				flush(at)
			}
			start = at + len("---")
		}
		at = end
	}
	flush(len(file))
	return out
}

func marker(line []byte) bool {
	if !bytes.HasPrefix(line, []byte("---")) && !bytes.HasPrefix(line, []byte("...")) {
		return false
	}
	return len(line) == 3 || bytes.IndexByte([]byte(" \t\r\n"), line[3]) >= 0
}

// blank says that a document is white space, comments and directives only.
func blank(document []byte) bool {
	for line := range bytes.Lines(document) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' {
			return false
		}
	}
	return true
}
