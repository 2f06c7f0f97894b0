// Command tally reads `go test -json` from standard input, prints what go test
// itself would print, and ends with one line: "N passed, N failed, N skipped".
//
//	go test -json ./... | tally
//
// It exits with 1 when anything failed, a package that does not build included.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of `go doc test2json`.
type event struct {
	Action, Package, ImportPath, Test, Output string
}

// tally counts tests and keeps their output until it is known how they end.
type tally struct {
	out                     io.Writer
	passed, failed, skipped int
	output                  map[string][]string // by package and test
	broken                  map[string]int      // failed tests by package
	skips                   []string            // tests that were skipped, with the reason
}

func main() {
	t := &tally{out: os.Stdout, output: map[string][]string{}, broken: map[string]int{}}
	if err := t.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
	t.print()
	if t.failed > 0 {
		os.Exit(1)
	}
}

func (t *tally) read(from io.Reader) error {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				// Not ours: something that go itself said.
				fmt.Fprintf(t.out, "%s", line)
			} else {
				t.add(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
	}
}

func (t *tally) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		if e.Test == "" {
			t.packageOutput(e.Output)
			return
		}
		t.output[key] = append(t.output[key], e.Output)
	case "build-output":
		fmt.Fprint(t.out, e.Output)
	case "pass", "fail", "skip":
		t.end(e, key)
	}
}

// packageOutput prints a package's own lines: "ok", "FAIL", "no test files",
// panics. The chatter of a passing package is left out.
func (t *tally) packageOutput(line string) {
	if line == "PASS\n" || strings.HasPrefix(line, "testing: warning: no tests to run") {
		return
	}
	fmt.Fprint(t.out, line)
}

// end counts a test, or a package that failed without a failed test in it (it
// did not build, or its TestMain failed).
func (t *tally) end(e event, key string) {
	if e.Test == "" {
		if e.Action == "fail" && t.broken[e.Package] == 0 {
			t.failed++
		}
		return
	}
	switch e.Action {
	case "pass":
		t.passed++
	case "fail":
		t.failed++
		t.broken[e.Package]++
		fmt.Fprint(t.out, strings.Join(t.output[key], ""))
	case "skip":
		t.skipped++
		t.skips = append(t.skips, key+": "+reason(t.output[key]))
	}
	delete(t.output, key)
}

// reason is what a skipped test said last before its result.
func reason(output []string) string {
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			return line
		}
	}
	return "no reason given"
}

func (t *tally) print() {
	for _, s := range t.skips {
		fmt.Fprintln(t.out, "skipped:", s)
	}
	fmt.Fprintf(t.out, "%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
}
