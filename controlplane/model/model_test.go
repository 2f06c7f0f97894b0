package model

import "testing"

func TestDeclaredProtocol(t *testing.T) {
	cases := []struct {
		app, name string
		want      Protocol
	}{
		{"", "", Detect},
		{"", "web", Detect},
		{"", "http", HTTP},
		{"", "HTTP-admin", HTTP},
		{"", "https", Opaque},
		{"", "redis-main", Opaque},
		{"", "grpc", Opaque},
		{"", "httpd", Detect},
		{"http", "redis", HTTP},
		{"HTTP", "", HTTP},
		{"kubernetes.io/ws", "", HTTP},
		{"kubernetes.io/wss", "http", Opaque},
		{"kubernetes.io/h2c", "http", Opaque},
		{"grpc", "http", Opaque},
		{"example.com/own", "http", Opaque},
	}
	for _, c := range cases {
		if got := DeclaredProtocol(c.app, c.name); got != c.want {
			t.Errorf("appProtocol %q, name %q: %v, want %v", c.app, c.name, got, c.want)
		}
	}
}

func TestProblemIsOneLine(t *testing.T) {
	cases := []struct {
		p    Problem
		want string
	}{
		{Problem{}, ""},
		{Problem{Reason: "no\n  way"}, "no way"},
		{Problem{File: "a.yaml", Reason: "r"}, "a.yaml: r"},
		{Problem{File: "a.yaml", Line: 7, Document: 2, Kind: "Pod", Name: "n/p", Field: "spec", Reason: "r"}, "a.yaml:7: Pod n/p: spec: r (document 2)"},
		{Ref{Kind: "Namespace", Name: Name{Name: "n"}}.Problem("", "r"), "Namespace n: r"},
	}
	for _, c := range cases {
		if got := c.p.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
