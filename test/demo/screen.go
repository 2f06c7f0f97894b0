package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// columns is how wide the page is.
const columns = 100

// screen writes the page and counts the claims on it. One goroutine at a time.
type screen struct {
	out    io.Writer
	colour bool
	start  time.Time

	steps, held, broken int
	// excuse is what to say when claims do not hold. "": nothing.
	excuse string
}

func newScreen(out *os.File) *screen {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	return &screen{out: out, colour: err == nil && os.Getenv("NO_COLOR") == "", start: time.Now()}
}

// paint wraps text in an SGR sequence where the terminal knows them.
func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

const (
	bold  = "1"
	dim   = "2"
	red   = "1;31"
	green = "32"
	cyan  = "36"
)

// step begins a section: a rule with its title, and the time so far.
func (s *screen) step(title string) {
	s.steps++
	left := fmt.Sprintf("── %d  %s ", s.steps, title)
	right := fmt.Sprintf(" at %.1f s ──", time.Since(s.start).Seconds())
	fill := strings.Repeat("─", max(0, columns-utf8.RuneCountInString(left+right)))
	fmt.Fprintf(s.out, "\n%s%s\n", s.paint(bold, left), s.paint(dim, fill+right))
}

// note writes a paragraph, wrapped.
func (s *screen) note(format string, args ...any) {
	for _, line := range wrap(fmt.Sprintf(format, args...), columns-3) {
		fmt.Fprintf(s.out, "   %s\n", line)
	}
}

// row writes a line of a table: what, how much, and where that is from.
func (s *screen) row(what, value, from string) {
	fmt.Fprintf(s.out, "     %s %14s   %s\n", pad(what, 43), value, s.paint(dim, from))
}

// text writes a line as it is.
func (s *screen) text(format string, args ...any) {
	fmt.Fprintf(s.out, "     "+format+"\n", args...)
}

// yaml writes pieces of policy as they are in the file.
func (s *screen) yaml(pieces ...string) {
	for line := range strings.Lines(strings.Join(pieces, "")) {
		fmt.Fprintf(s.out, "     %s\n", s.paint(cyan, strings.TrimRight(line, "\n")))
	}
}

// gap writes an empty line.
func (s *screen) gap() { fmt.Fprintln(s.out) }

// claim writes what is claimed, with a tick when it holds and a cross when it
// does not.
func (s *screen) claim(holds bool, format string, args ...any) {
	mark, code := "✓", green
	if holds {
		s.held++
	} else {
		mark, code = "✗", red
		s.broken++
	}
	for i, line := range wrap(fmt.Sprintf(format, args...), columns-5) {
		if i > 0 {
			mark = " "
		}
		fmt.Fprintf(s.out, "   %s %s\n", s.paint(code, mark), line)
	}
}

// summary is the last line.
func (s *screen) summary(interrupted bool, err error) {
	took := time.Since(s.start).Round(100 * time.Millisecond)
	s.gap()
	switch {
	case err != nil:
		fmt.Fprintf(s.out, "%s after %v: %v\n", s.paint(red, "The demo did not get through"), took, err)
	case interrupted:
		fmt.Fprintf(s.out, "Interrupted after %v; nothing is left behind.\n", took)
	case s.broken > 0:
		if s.excuse != "" {
			s.note("%s", s.excuse)
		}
		fmt.Fprintf(s.out, "%s of %d (%v).\n", s.paint(red, fmt.Sprintf("%d claims do not hold", s.broken)), s.held+s.broken, took)
	default:
		fmt.Fprintf(s.out, "%s, in %v. Nothing is left behind.\n", s.paint(green, fmt.Sprintf("All %d claims hold", s.held)), took)
	}
}

// wrap breaks text into lines of at most width columns, at spaces.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// pad fills text up with spaces to a width.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// count writes a number with commas between thousands.
func count[T int | int64 | float64](n T) string {
	digits := fmt.Sprintf("%.0f", float64(n))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// percent writes a share of a whole.
func percent(part, whole int64) string {
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(max(whole, 1)))
}

// micros writes a duration in whole microseconds.
func micros(d time.Duration) string { return count(d.Microseconds()) + " µs" }

// millis writes a duration in whole milliseconds.
func millis(d time.Duration) string { return count(d.Round(time.Millisecond).Milliseconds()) + " ms" }
