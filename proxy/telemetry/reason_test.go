package telemetry

import "testing"

func TestReasonsAreNamedOnceAndParse(t *testing.T) {
	seen := map[string]Reason{}
	for r := None; r < reasonCount; r++ {
		name := r.String()
		if other, ok := seen[name]; ok || name == "unknown" {
			t.Errorf("reason %d is called %q, as is %d", r, name, other)
		}
		seen[name] = r
		if parsed, ok := ParseReason(name); !ok || parsed != r {
			t.Errorf("ParseReason(%q) = %d, %t; want %d", name, parsed, ok, r)
		}
		if s := r.Status(); s != 0 && (s < 400 || s > 599) {
			t.Errorf("%s answers %d", name, s)
		}
	}
	if _, ok := ParseReason("no such reason"); ok {
		t.Error("ParseReason takes any name")
	}
}

func TestOutcomesAreNamed(t *testing.T) {
	for o := OutcomeOK; o < outcomeCount; o++ {
		if o.String() == "unknown" {
			t.Errorf("outcome %d has no name", o)
		}
	}
}
