// Package chaos breaks a running node on purpose and counts, from its clients'
// point of view, what they notice: pods, endpoints and policy that come and go,
// bad policy, crashes, hangs, restarts and removal. It owns no code.
//
// The suite takes about a minute and a half. `go test ./test/chaos -soak=10m`
// makes the changes of the churn go on for so long.
package chaos
