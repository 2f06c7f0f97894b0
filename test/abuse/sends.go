package abuse

import (
	"slices"
	"strings"
)

// Sends are the requests of the catalogue as the bytes to send, for tests that
// play them against an upstream of their own: they are not scripted, and nothing
// is said of the answers. Each target is "/t/" and a number. A connection is
// either closed by the proxy or can carry another request afterwards.
func Sends(host string) []string {
	var list []string
	for i, p := range slices.Concat(refused(), dribbled(refused()), badBodies(), accepted(), desyncs()) {
		// What is cut off in the middle needs a script to come to an end.
		if p.fill(i, host); p.reply == "" && !strings.Contains(p.name, "upgrade") {
			list = append(list, p.send)
		}
	}
	return list
}
