package objects

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
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
		return Object{}, []model.Fault{notYAML(err)}
	}
	var head struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, &head); err != nil {
		if field, words, _ := mismatch(err); field != "" {
			return Object{}, []model.Fault{{Field: field, Reason: words}}
		}
		return Object{}, []model.Fault{{Reason: "not an object with apiVersion, kind and metadata: " + reason(err)}}
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

// notYAML takes the line out of the parser's words: it counts within the document,
// which nobody sees.
func notYAML(err error) model.Fault {
	words := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	m := regexp.MustCompile(`line (\d+): (.*)`).FindStringSubmatch(words)
	if m == nil {
		return model.Fault{Reason: "not valid YAML: " + strings.TrimPrefix(words, "yaml: ")}
	}
	line, _ := strconv.Atoi(m[1])
	return model.Fault{Reason: "not valid YAML: " + m[2], Line: max(0, line-1)}
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
	if t.Kind == "List" {
		return model.Fault{Field: "kind", Reason: "List is not read by Culvert: write each of its items as a document"}
	}
	for _, version := range []string{"v1", "discovery.k8s.io/v1", "gateway.networking.k8s.io/v1"} {
		if value, _ := kindOf(version, t.Kind); value != nil {
			return model.Fault{Field: "apiVersion", Reason: fmt.Sprintf("%q is not read by Culvert for a %s, only %s", t.APIVersion, t.Kind, version)}
		}
	}
	return model.Fault{Field: "kind", Reason: fmt.Sprintf("%s of %s is not read by Culvert", t.Kind, t.APIVersion)}
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
	is, wanted := m[1], plainType(m[3])
	words = fmt.Sprintf("%s where %s is wanted", is, wanted)
	if wanted == "text" {
		words += " (put quotes around it: YAML takes y, n, yes, no, on, off and numbers for something else)"
	}
	return m[2], words, true
}

// plainType says a Go type in words of YAML.
func plainType(of string) string {
	switch {
	case of == "string":
		return "text"
	case of == "bool":
		return "true or false"
	case strings.HasPrefix(of, "int"), strings.HasPrefix(of, "uint"):
		return "a whole number"
	case strings.HasPrefix(of, "[]"):
		return "a list"
	}
	return "an object"
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
	if n.Name == "" {
		faults = append(faults, model.Fault{Field: "metadata.name", Reason: "required"})
	} else if !validName(n.Name) {
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

// Document is one document of a file.
type Document struct {
	// Text begins with the first line that is neither empty nor a comment; nil
	// where there is none.
	Text []byte
	// Line is the one that Text begins in, counted from 1.
	Line int
}

// Documents splits a file at its "---" and "..." lines (YAML 1.2, 9.1.2: in no
// other place may they begin a line).
func Documents(file []byte) []Document {
	var out []Document
	start, at := 0, 0
	line, begun := 1, 1 // of at, of start
	flush := func(end int) {
		out = append(out, newDocument(file[start:end], begun))
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
			start, begun = at+len("---"), line
		}
		at = end
		line++
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

// newDocument leaves out what comes before the first line of content. Directives
// stay, but are no content.
func newDocument(text []byte, line int) Document {
	out := Document{Line: line}
	at := 0
	for one := range bytes.Lines(text) {
		content := bytes.TrimSpace(one)
		if len(content) > 0 && content[0] != '#' {
			if out.Text == nil {
				out.Text, out.Line = text[at:], line
			}
			if content[0] != '%' {
				return out
			}
		}
		at += len(one)
		line++
	}
	out.Text = nil
	return out
}
