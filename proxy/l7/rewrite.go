package l7

import (
	"net/netip"

	"github.com/culvert-mesh/culvert/proxy/http1"
	"github.com/culvert-mesh/culvert/proxy/route"
	"github.com/culvert-mesh/culvert/proxy/table"
)

// editor collects the header edits of one head, in the order in which they are
// applied: the rule's, then the backend's.
type editor struct{ list []http1.Edit }

func (e *editor) reset() { e.list = e.list[:0] }

func (e *editor) add(edits *table.HeaderEdits) {
	for i := range edits.Set {
		e.list = append(e.list, http1.Edit{Kind: http1.Set, Name: edits.Set[i].Name, Value: edits.Set[i].Value})
	}
	for i := range edits.Add {
		e.list = append(e.list, http1.Edit{Kind: http1.Add, Name: edits.Add[i].Name, Value: edits.Add[i].Value})
	}
	for _, name := range edits.Remove {
		e.list = append(e.list, http1.Edit{Kind: http1.Remove, Name: name})
	}
}

// rewrite changes the target and the host that the endpoint sees (Gateway API
// HTTPURLRewriteFilter). The query stays.
func (x *exchange) rewrite(w *table.Rewrite) {
	if w.Host != "" {
		x.head.Host = w.Host
	}
	if w.Path == "" && !w.ReplacePrefix {
		return
	}
	x.target = route.AppendRewritten(x.target[:0], x.request.Path(), &x.rule.Match, w)
	x.target = x.appendQuery(x.target)
	x.head.Target = x.target
}

func (x *exchange) appendQuery(dst []byte) []byte {
	if query := x.request.Query(); query != nil {
		dst = append(dst, '?')
		dst = append(dst, query...)
	}
	return dst
}

// authority is what a client that dialled origin would name as the host: for
// requests of HTTP/1.0 that name none. An empty Host would be allowed (RFC 9112
// 3.2), but nginx refuses it.
func authority(origin netip.AddrPort) string {
	if origin.Port() != wellKnown("http") {
		return origin.String()
	}
	if origin.Addr().Is6() {
		return "[" + origin.Addr().String() + "]"
	}
	return origin.Addr().String()
}
