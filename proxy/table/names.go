package table

// String names the protocol for logs, metrics and dumps.
func (p Protocol) String() string {
	return word(int(p), "detect", "http1", "opaque", "tcp")
}

// String names the stance.
func (s Stance) String() string { return word(int(s), "open", "closed") }

// String names the kind.
func (k PathKind) String() string {
	return word(int(k), "any", "exact", "prefix", "starts_with", "regexp")
}

// String names the kind.
func (k ValueKind) String() string { return word(int(k), "exact", "regexp", "present") }

// String names the way to choose.
func (b Balance) String() string { return word(int(b), "round_robin", "weighted_random") }

func word(i int, words ...string) string {
	if i < len(words) {
		return words[i]
	}
	return "invalid"
}
