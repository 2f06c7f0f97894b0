package gatewayapi

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/culvert-mesh/culvert/controlplane/model"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// filterSet is the sum of a list of filters.
type filterSet struct {
	request, response model.HeaderOps
	redirect          *model.Redirect
	host              string
	path              *model.PathChange
	// unsupported is the type of the first filter that we cannot do.
	unsupported string
}

// filters adds up a list of filters, each type at most once (Check).
func filters(fs []gwv1.HTTPRouteFilter, field string) (filterSet, []model.Fault) {
	var out filterSet
	var faults []model.Fault
	for i := range fs {
		f := &fs[i]
		switch f.Type {
		case gwv1.HTTPRouteFilterRequestHeaderModifier:
			out.request = headerOps(f.RequestHeaderModifier)
		case gwv1.HTTPRouteFilterResponseHeaderModifier:
			out.response = headerOps(f.ResponseHeaderModifier)
		case gwv1.HTTPRouteFilterRequestRedirect:
			out.redirect = redirect(f.RequestRedirect)
		case gwv1.HTTPRouteFilterURLRewrite:
			out.host = string(deref(f.URLRewrite.Hostname, ""))
			out.path = pathChange(f.URLRewrite.Path)
		default:
			if out.unsupported == "" {
				out.unsupported = string(f.Type)
			}
			faults = append(faults, model.Fault{
				Field:  fmt.Sprintf("%s.filters[%d].type", field, i),
				Reason: fmt.Sprintf("filter %s is not supported: requests are answered 500", f.Type),
			})
		}
	}
	return out, faults
}

func headerOps(f *gwv1.HTTPHeaderFilter) model.HeaderOps {
	out := model.HeaderOps{Remove: f.Remove}
	for _, h := range f.Set {
		out.Set = append(out.Set, model.Header{Name: string(h.Name), Value: h.Value})
	}
	for _, h := range f.Add {
		out.Add = append(out.Add, model.Header{Name: string(h.Name), Value: h.Value})
	}
	return out
}

func redirect(f *gwv1.HTTPRequestRedirectFilter) *model.Redirect {
	return &model.Redirect{
		Scheme: deref(f.Scheme, ""),
		Host:   string(deref(f.Hostname, "")),
		Port:   uint16(deref(f.Port, 0)),
		Path:   pathChange(f.Path),
		Status: deref(f.StatusCode, http.StatusFound),
	}
}

func pathChange(p *gwv1.HTTPPathModifier) *model.PathChange {
	switch {
	case p == nil:
		return nil
	case p.Type == gwv1.PrefixMatchHTTPPathModifier:
		return &model.PathChange{Prefix: true, Value: *p.ReplacePrefixMatch}
	}
	// An empty path is not a request target (RFC 9112 3.2.1): the root is meant.
	return &model.PathChange{Value: cmp.Or(*p.ReplaceFullPath, "/")}
}
