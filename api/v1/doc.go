// Package culvertv1 owns the protobuf messages of Culvert's own xDS types: what
// a node must know that Envoy's types have no word for. It holds generated code
// and the type URLs, no behaviour; controlplane/translate fills the messages,
// node/xds reads them. Messages are plain data: whoever made one owns it.
package culvertv1

//go:generate protoc -I . --plugin=protoc-gen-go=protoc-gen-go.sh --go_out=. --go_opt=paths=source_relative workload.proto

// WorkloadType is the type URL of Workload on an ADS stream.
const WorkloadType = "type.googleapis.com/culvert.v1.Workload"
