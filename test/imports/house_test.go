package imports_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// source is one Go file of ours that people wrote.
type source struct {
	path string // below the module
	text []byte
	file *ast.File
	set  *token.FileSet
	test bool
}

// readOnce parses everything once for all tests.
var readOnce = sync.OnceValues(read)

// sources is every Go file of the module that is not generated.
func sources(t *testing.T) []source {
	t.Helper()
	all, err := readOnce()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func read() ([]source, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	packages, err := listOnce()
	if err != nil {
		return nil, err
	}
	var all []source
	for _, p := range packages {
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			s, err := readSource(root, filepath.Join(p.Dir, name))
			if err != nil {
				return nil, err
			}
			if !ast.IsGenerated(s.file) {
				all = append(all, s)
			}
		}
	}
	return all, nil
}

func readSource(root, path string) (source, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return source{}, err
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, text, parser.ParseComments)
	if err != nil {
		return source{}, err
	}
	below, err := filepath.Rel(root, path)
	return source{below, text, file, set, strings.HasSuffix(path, "_test.go")}, err
}

const (
	maxFileLines     = 400
	maxFunctionLines = 80
	aimFunctionLines = 40
)

// longFiles may be over maxFileLines, each for its reason.
func longFiles() map[string]string {
	return map[string]string{
		"node/capture/world_test.go": "one kernel world and its helpers, read together",
	}
}

// longFunctions may be over maxFunctionLines: a flat switch or a table.
func longFunctions() map[string]string { return map[string]string{} }

func TestFilesAreShort(t *testing.T) {
	for _, s := range sources(t) {
		lines := bytes.Count(s.text, []byte("\n"))
		if lines > maxFileLines && longFiles()[s.path] == "" {
			t.Errorf("%s has %d lines, over %d: split it by what it owns", s.path, lines, maxFileLines)
		}
	}
}

func TestFunctionsAreShort(t *testing.T) {
	overAim, total := 0, 0
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			total++
			lines := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1
			name := s.path + ": " + f.Name.Name
			switch {
			// A test is often one table of cases; its length is no maze.
			case s.test:
			case lines > maxFunctionLines && longFunctions()[name] == "":
				t.Errorf("%s has %d lines, over %d", name, lines, maxFunctionLines)
			case lines > aimFunctionLines:
				overAim++
				t.Logf("%s has %d lines", name, lines)
			}
		}
	}
	t.Logf("%d of %d functions are over %d lines", overAim, total, aimFunctionLines)
}

func TestNoInit(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init(): what runs must be called in sight", s.path)
			}
		}
	}
}

func TestPackageNamesAreNouns(t *testing.T) {
	for _, p := range ours(t) {
		switch p.Name {
		case "util", "utils", "common", "types", "helpers", "manager", "misc", "base", "shared":
			t.Errorf("%s: %q owns nothing; name it after what it owns", p.ImportPath, p.Name)
		}
	}
}

// pattern is a rule that a search can check.
type pattern struct {
	name  string
	find  *regexp.Regexp
	where func(source) bool
	why   string
}

func patterns() []pattern {
	everywhere := func(source) bool { return true }
	// In a bubble of testing/synctest time is virtual, and Sleep the way to move it.
	tests := func(s source) bool { return s.test && !bytes.Contains(s.text, []byte(`"testing/synctest"`)) }
	product := func(s source) bool { return !s.test && !strings.HasPrefix(s.path, "test/") }
	return []pattern{
		// The words are put together here so that this file does not hold them.
		{"to" + "do", regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`), everywhere, "finish it, or write it where work is planned"},
		{"sleep in a test", regexp.MustCompile(`\btime\.Sl` + `eep\(`), tests, "wait for a condition, or use virtual time (testing/synctest)"},
		{"log package", regexp.MustCompile(`(?m)^\s*"log"$`), product, "log through slog, with stable keys"},
		{"switch in the environment", regexp.MustCompile(`\bos\.(Getenv|LookupEnv)\(`), product, "flags start the process; policy arrives over xDS"},
		{"failed to", regexp.MustCompile(`(Errorf|errors\.New)\("(failed|unable|could not|cannot) `), product, "errors are verb phrases: \"attach connect4: ...\""},
	}
}

func TestHouseRules(t *testing.T) {
	all := sources(t)
	for _, p := range patterns() {
		t.Run(p.name, func(t *testing.T) {
			for _, s := range all {
				if !p.where(s) {
					continue
				}
				for _, at := range p.find.FindAllIndex(s.text, -1) {
					line := 1 + bytes.Count(s.text[:at[0]], []byte("\n"))
					t.Errorf("%s:%d: %s: %s", s.path, line, s.text[at[0]:at[1]], p.why)
				}
			}
		})
	}
}

// frozen are package variables that are constants in all but Go's grammar.
func frozen() map[string]string {
	return map[string]string{
		"proxy/http1/class.go: classes":        "byte classes, filled once",
		"proxy/http1/class.go: lowers":         "lower-case letters, filled once",
		"proxy/http1/fault.go: clientErrors":   "sentinel errors by fault",
		"proxy/http1/fault.go: upstreamErrors": "sentinel errors by fault",
	}
}

// Package variables are hidden inputs. Sentinel errors, interface checks and
// tables that nobody writes are allowed.
func TestNoPackageVariables(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.path, "test/") {
			continue
		}
		for _, d := range s.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				for i, name := range v.Names {
					if !allowedVariable(v, i) && frozen()[s.path+": "+name.Name] == "" {
						t.Errorf("%s: package variable %s: give it an owner", where(s, name), name.Name)
					}
				}
			}
		}
	}
}

// allowedVariable says whether the i-th name of a declaration is a sentinel
// error, an interface check, an embedded file or a literal table.
func allowedVariable(v *ast.ValueSpec, i int) bool {
	name := strings.ToLower(v.Names[i].Name)
	if name == "_" || strings.HasPrefix(name, "err") {
		return true
	}
	if len(v.Values) <= i {
		return false
	}
	switch value := v.Values[i].(type) {
	case *ast.CompositeLit:
		return true
	case *ast.UnaryExpr: // &Error{...}: a sentinel
		_, literal := value.X.(*ast.CompositeLit)
		return value.Op == token.AND && literal
	case *ast.CallExpr:
		text := fmt.Sprint(value.Fun)
		// func() T { ... }() fills a table; errors.New and friends are sentinels.
		_, table := value.Fun.(*ast.FuncLit)
		return table || strings.Contains(text, "errors New") || strings.Contains(text, "regexp MustCompile")
	}
	return false
}

func where(s source, n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.path, s.set.Position(n.Pos()).Line)
}
