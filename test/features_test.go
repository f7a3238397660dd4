package test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stackato/stackato/test/doctable"
)

// TestFeatures holds docs/features.md to the rules that its head states.
func TestFeatures(t *testing.T) {
	root := ".."
	tables, err := doctable.Read(filepath.Join(root, "docs", "features.md"))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := readSourceTree(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range checkFeatures(tables, tree) {
		t.Errorf("docs/features.md: %s", problem)
	}
	rows := 0
	for _, table := range tables {
		rows += len(table.Rows)
	}
	if rows < 600 { // the file began with more: rows change their state, they do not go
		t.Errorf("docs/features.md has %d rows: where are the others?", rows)
	}
}

var (
	featureColumns = []string{"id", "feature", "state", "where", "test"}
	featureID      = regexp.MustCompile(`^[A-Z]{1,2}-[0-9]{2,3}$`)
	goTestName     = regexp.MustCompile(`^(?:([\w./-]+)\.)?((?:Test|Fuzz|Benchmark)\w*)(?:/.+)?$`)
)

// checkFeatures returns what is wrong with the tables, in their order.
func checkFeatures(tables []doctable.Table, tree sourceTree) []string {
	var problems []string
	seen := map[string]int{}
	if len(tables) == 0 {
		return []string{"there is no table"}
	}
	for _, table := range tables {
		if !slices.Equal(table.Columns, featureColumns) {
			problems = append(problems, fmt.Sprintf("line %d: columns are %q, want %q", table.Line, table.Columns, featureColumns))
			continue
		}
		for _, row := range table.Rows {
			id := row.Cells[0]
			if first, twice := seen[id]; twice {
				problems = append(problems, fmt.Sprintf("line %d: id %s stands on line %d already", row.Line, id, first))
			}
			seen[id] = row.Line
			for _, p := range checkFeature(row.Cells, tree) {
				problems = append(problems, fmt.Sprintf("line %d: %s: %s", row.Line, id, p))
			}
		}
	}
	return problems
}

func checkFeature(cells []string, tree sourceTree) []string {
	id, feature, state := cells[0], cells[1], cells[2]
	where, tests := list(cells[3]), list(cells[4])
	var problems []string
	if !featureID.MatchString(id) {
		problems = append(problems, "the id must look like R-01 or G-101")
	}
	if feature == "" {
		problems = append(problems, "the feature has no name")
	}
	for _, w := range where {
		if !tree.has(w) {
			problems = append(problems, fmt.Sprintf("%q is not in the tree", w))
		}
	}
	for _, name := range tests {
		if p := tree.testProblem(name); p != "" {
			problems = append(problems, p)
		}
	}
	switch state {
	case "works", "partly":
		if len(where) == 0 {
			problems = append(problems, "it is called "+state+" and names no place in the tree")
		}
		if len(tests) == 0 {
			problems = append(problems, "it is called "+state+" and names no test")
		}
	case "missing":
		if len(tests) > 0 {
			problems = append(problems, "it is called missing and names a test: call it partly, or take the test out")
		}
	default:
		problems = append(problems, fmt.Sprintf("unknown state %q: use works, partly or missing", state))
	}
	return problems
}

// list splits a cell at commas; code marks are ignored.
func list(cell string) []string {
	var out []string
	for item := range strings.SplitSeq(strings.ReplaceAll(cell, "`", ""), ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// sourceTree knows the paths of the repository and its Go tests.
type sourceTree struct {
	paths map[string]bool            // slash-separated, relative to the root; folders too
	tests map[string]map[string]bool // test name → folder → it does more than skip
}

func (s sourceTree) has(name string) bool { return s.paths[strings.TrimSuffix(name, "/")] }

// testProblem says what is wrong with the name of a test, "" if nothing is.
func (s sourceTree) testProblem(name string) string {
	if m := goTestName.FindStringSubmatch(name); m != nil {
		return s.goTestProblem(name, m[1], m[2])
	}
	if !s.has(name) {
		return fmt.Sprintf("test %q is neither a Go test nor a file of the tree", name)
	}
	if !isTestScript(name) {
		return fmt.Sprintf("%q is no test: name a Go test, a .txtar script or a shell script of test/ or .ci/", name)
	}
	return ""
}

func (s sourceTree) goTestProblem(name, folder, test string) string {
	folders := s.tests[test]
	if folder != "" {
		works, there := folders[folder]
		switch {
		case !there:
			return fmt.Sprintf("there is no test %s in %s", test, folder)
		case !works:
			return fmt.Sprintf("test %s only skips", name)
		}
		return ""
	}
	if len(folders) == 0 {
		return fmt.Sprintf("there is no test %s", test)
	}
	for _, works := range folders {
		if works {
			return ""
		}
	}
	return fmt.Sprintf("test %s only skips", name)
}

func isTestScript(name string) bool {
	switch {
	case path.Ext(name) == ".txtar":
		return true
	case strings.HasPrefix(name, ".ci/"):
		return true
	}
	return strings.HasPrefix(name, "test/") && path.Ext(name) == ".sh"
}

// readSourceTree walks the repository; build products and version control are left
// out.
func readSourceTree(root string) (sourceTree, error) {
	tree := sourceTree{paths: map[string]bool{}, tests: map[string]map[string]bool{}}
	skip := map[string]bool{".git": true, "bin": true, "build": true, "node_modules": true}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && skip[d.Name()] {
			return fs.SkipDir
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		tree.paths[rel] = true
		if !d.IsDir() && strings.HasSuffix(rel, "_test.go") && !strings.Contains(rel, "testdata/") {
			return tree.addTests(file, path.Dir(rel))
		}
		return nil
	})
	return tree, err
}

func (s sourceTree) addTests(file, folder string) error {
	src, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, decl := range parsed.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !goTestName.MatchString(fn.Name.Name) {
			continue
		}
		if s.tests[fn.Name.Name] == nil {
			s.tests[fn.Name.Name] = map[string]bool{}
		}
		s.tests[fn.Name.Name][folder] = doesMoreThanSkip(fn)
	}
	return nil
}

// doesMoreThanSkip is false for a test that is empty or whose first statement
// is t.Skip, t.Skipf or t.SkipNow.
func doesMoreThanSkip(fn *ast.FuncDecl) bool {
	if fn.Body == nil || len(fn.Body.List) == 0 {
		return false
	}
	stmt, ok := fn.Body.List[0].(*ast.ExprStmt)
	if !ok {
		return true
	}
	call, ok := stmt.X.(*ast.CallExpr)
	if !ok {
		return true
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return !ok || !strings.HasPrefix(sel.Sel.Name, "Skip")
}

// TestFeaturesCanFail shows that each rule of the table is enforced.
func TestFeaturesCanFail(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"a/a_test.go": "package a\nimport \"testing\"\n" +
			"func TestReal(t *testing.T) { t.Log() }\nfunc TestIdle(t *testing.T) { t.Skip() }\n" +
			"// func TestGone(t *testing.T) {}\n",
		"a/a.go":               "package a\n",
		"a/testdata/run.txtar": "exec true\n",
		"bin/product":          "",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := readSourceTree(root)
	if err != nil {
		t.Fatal(err)
	}
	const head = "| id | feature | state | where | test |\n|---|---|---|---|---|\n"
	tests := []struct{ name, text, want string }{
		{"works", head + "| R-01 | f | works | `a/a.go` | `TestReal` |", ""},
		{"subtest and folder", head + "| R-01 | f | partly | a/ | a.TestReal/x |", ""},
		{"script", head + "| R-01 | f | works | a | a/testdata/run.txtar, TestReal |", ""},
		{"missing", head + "| R-01 | f | missing |  |  |", ""},
		{"no table", "text", "there is no table"},
		{"state", head + "| R-01 | f | done | a | TestReal |", `unknown state "done"`},
		{"empty state", head + "| R-01 | f |  |  |  |", `unknown state ""`},
		{"id twice", head + "| R-01 | f | missing |  |  |\n| R-01 | g | missing |  |  |", "id R-01 stands on line 3 already"},
		{"id form", head + "| r1 | f | missing |  |  |", "the id must look like"},
		{"no name", head + "| R-01 |  | missing |  |  |", "has no name"},
		{"no test", head + "| R-01 | f | works | a |  |", "names no test"},
		{"no place", head + "| R-01 | f | partly |  | TestReal |", "names no place"},
		{"wrong place", head + "| R-01 | f | works | b | TestReal |", `"b" is not in the tree`},
		{"build product", head + "| R-01 | f | works | bin/product | TestReal |", "is not in the tree"},
		{"no such test", head + "| R-01 | f | works | a | TestOther |", "there is no test TestOther"},
		{"commented out", head + "| R-01 | f | works | a | TestGone |", "there is no test TestGone"},
		{"other folder", head + "| R-01 | f | works | a | b.TestReal |", "there is no test TestReal in b"},
		{"only skips", head + "| R-01 | f | works | a | TestIdle |", "only skips"},
		{"no script", head + "| R-01 | f | works | a | a/none.txtar |", "neither a Go test nor a file"},
		{"not a test", head + "| R-01 | f | works | a | a/a.go |", "is no test"},
		{"missing with test", head + "| R-01 | f | missing |  | TestReal |", "called missing and names a test"},
		{"columns", "| id | state |\n|---|---|\n| R-01 | works |", "columns are"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tables, err := doctable.Parse(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(checkFeatures(tables, tree), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
