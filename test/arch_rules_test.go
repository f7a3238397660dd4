package test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/stackato/stackato"

// maxLines is how long a Go file may be; tests and generated files are exempt.
const maxLines = 400

// maxInternal is how many packages internal/ may hold.
const maxInternal = 8

// soleImporters names the folders, sub-packages included, from which a module or
// package may be imported. Of several matching entries the longest one counts.
var soleImporters = map[string][]string{
	"github.com/docker/docker":              {"agent/fence"},
	"github.com/moby/moby":                  {"agent/fence"},
	"github.com/hashicorp/raft":             {"agent/consensus"},
	"github.com/hashicorp/raft-boltdb":      {"agent/consensus"},
	"github.com/hashicorp/memberlist":       {"agent/member"},
	"github.com/hashicorp/nomad/api":        {"jobs", "controller/deploy", "controller/health", "agent/supervise/nomad"},
	"github.com/hashicorp/consul/api":       {"agent/catalog", "agent/supervise/consul", "router/watch"},
	"github.com/hashicorp/consul/api/watch": {"agent/catalog", "router/watch"},
	"github.com/hashicorp/nomad":            nil, // children, never embedded
	"github.com/hashicorp/consul":           nil,
}

// forbidden lists which folder must not import which other folder of the module.
var forbidden = map[string][]string{
	"agent":      {"controller", "router", "cmd"},
	"controller": {"agent", "router", "cmd"},
	"router":     {"agent", "controller", "cmd"}, // it stays up when these are broken
	"services":   {"cmd"},
	"console":    {"cmd"},
}

// onlyFromModule lists folders that may import nothing of the module but
// themselves and what stands here.
var onlyFromModule = map[string][]string{
	"jobs":          {"controller/cf"},
	"wire":          {"internal"},
	"agent/node":    {"internal", "wire"},
	"controller/cf": {"internal", "wire"},
}

// jobsThirdParty is all that jobs, being pure, may import from outside of the
// module and the standard library. Its tests are free.
const jobsThirdParty = "github.com/hashicorp/nomad/api"

// layout says where packages may stand. A folder with a list holds no other
// folders than those named; "." stands for files in the folder itself.
var layout = map[string][]string{
	"cmd":             {"stackato-agent", "kato", "stackato", "stackato-launcher", "stackato-stager"},
	"agent":           {".", "node", "member", "consensus", "cluster", "rpc", "catalog", "supervise", "fence", "apptail", "logyard", "local", "inspect", "resolver"},
	"agent/cluster":   {".", "pki", "seal"},
	"agent/supervise": {".", "nomad", "consul", "serfagent"},
	"controller":      {".", "cf", "state", "api", "auth", "uaa", "blob", "staging", "deploy", "health", "instances", "routes", "logcache", "osb", "client"},
	"router":          {".", "table", "watch", "proxy", "tcp"},
	"jobs":            nil,
	"services":        nil,
	"console":         nil,
	"buildpacks":      nil,
	"stack":           nil,
	"terraform":       nil,
	"packer":          nil,
	"docs":            nil,
	"test":            nil,
	"wire":            nil,
	"internal":        nil,
	"tools":           nil,
}

var badNames = []string{"util", "utils", "common", "helper", "helpers", "misc"}

// goFile is what the rules look at. Paths have slashes and start at the root.
type goFile struct {
	path      string
	pkg       string // name in the package clause
	imports   []string
	lines     int
	generated bool
}

func (f goFile) dir() string  { return path.Dir(f.path) }
func (f goFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// readTree parses the imports of every Go file of the module at root. It leaves
// out testdata, hidden folders, build output and modules of their own.
func readTree(root string) ([]goFile, error) {
	var files []goFile
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && skipDir(p, rel) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		f, err := readFile(p, rel)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

func skipDir(p, rel string) bool {
	name := path.Base(rel)
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	if slices.Contains([]string{"testdata", "node_modules", "vendor"}, name) || rel == "bin" || rel == "build" {
		return true
	}
	_, err := os.Stat(filepath.Join(p, "go.mod"))
	return err == nil
}

func readFile(p, rel string) (goFile, error) {
	src, err := os.ReadFile(p)
	if err != nil {
		return goFile{}, err
	}
	tree, err := parser.ParseFile(token.NewFileSet(), rel, src, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return goFile{}, err
	}
	f := goFile{path: rel, pkg: tree.Name.Name, lines: bytes.Count(src, []byte("\n")), generated: ast.IsGenerated(tree)}
	for _, spec := range tree.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return goFile{}, fmt.Errorf("%s: import %s: %w", rel, spec.Path.Value, err)
		}
		f.imports = append(f.imports, name)
	}
	return f, nil
}

// under reports whether p is dir or stands below it.
func under(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

func underAny(p string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return under(p, d) })
}

// inModule returns the folder that an import of the module names.
func inModule(imported string) (dir string, ok bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

// violations returns one sentence for each breach of a rule, sorted.
func violations(files []goFile) []string {
	var out []string
	for _, f := range files {
		out = append(out, checkFile(f)...)
		if under(f.path, "test") {
			continue // may import anything
		}
		for _, imported := range f.imports {
			if why := checkImport(f, imported); why != "" {
				out = append(out, fmt.Sprintf("%s imports %s: %s", f.path, imported, why))
			}
		}
	}
	out = append(out, checkInternal(files)...)
	slices.Sort(out)
	return slices.Compact(out)
}

func checkFile(f goFile) []string {
	var out []string
	if why := misplaced(f.dir()); why != "" {
		out = append(out, fmt.Sprintf("%s: %s", f.dir(), why))
	}
	for _, name := range []string{strings.TrimSuffix(f.pkg, "_test"), path.Base(f.dir())} {
		if slices.Contains(badNames, name) {
			out = append(out, fmt.Sprintf("%s: the name %q says nothing: name a package by what it provides", f.dir(), name))
		}
	}
	if f.lines > maxLines && !f.isTest() && !f.generated {
		out = append(out, fmt.Sprintf("%s has %d lines, more than %d: split it by noun", f.path, f.lines, maxLines))
	}
	return out
}

// isSupport reports whether dir holds test support for the package above it, as
// net/http/httptest does: named after it, for tests only.
func isSupport(dir string) bool {
	return path.Base(dir) == path.Base(path.Dir(dir))+"test"
}

// misplaced says why no package may stand in dir.
func misplaced(dir string) string {
	if isSupport(dir) {
		dir = path.Dir(dir)
	}
	for level := strings.Count(dir, "/") + 1; level >= 1; level-- {
		parent := strings.Join(strings.Split(dir, "/")[:level], "/")
		allowed, known := layout[parent]
		if !known {
			continue
		}
		child := "."
		if dir != parent {
			child, _, _ = strings.Cut(strings.TrimPrefix(dir, parent+"/"), "/")
		}
		if allowed != nil && !slices.Contains(allowed, child) {
			return fmt.Sprintf("%s holds no packages but %s", parent, strings.Join(allowed, ", "))
		}
		if level > 1 {
			continue // the folders above have a say as well
		}
		return ""
	}
	return "no such place in the layout (architecture §8)"
}

func checkImport(f goFile, imported string) string {
	if target, ok := inModule(imported); ok {
		return checkOwn(f, target)
	}
	if why := checkSole(f, imported); why != "" {
		return why
	}
	std := !strings.Contains(strings.SplitN(imported, "/", 2)[0], ".")
	if under(f.path, "jobs") && !f.isTest() && !std && !under(imported, jobsThirdParty) {
		return "jobs is pure: outside of the standard library it imports controller/cf and " + jobsThirdParty + " only"
	}
	return ""
}

func checkOwn(f goFile, target string) string {
	for from, to := range forbidden {
		if under(f.path, from) && underAny(target, to) {
			return fmt.Sprintf("%s never imports %s", from, strings.Join(to, ", "))
		}
	}
	for from, to := range onlyFromModule {
		if under(f.path, from) && !under(target, from) && !underAny(target, to) {
			return fmt.Sprintf("of this module %s imports only %s", from, strings.Join(to, ", "))
		}
	}
	if under(f.path, "internal") && !f.isTest() && target != f.dir() && !under(target, f.dir()) {
		return "internal imports nothing else of the module"
	}
	if (under(target, "test") || isSupport(target)) && !f.isTest() && !isSupport(f.dir()) {
		return "only tests import test/ and test support"
	}
	return ""
}

func checkSole(f goFile, imported string) string {
	best := ""
	for name := range soleImporters {
		if under(imported, name) && len(name) > len(best) {
			best = name
		}
	}
	if best == "" || underAny(f.dir(), soleImporters[best]) {
		return ""
	}
	if soleImporters[best] == nil {
		return best + " is never embedded: it runs as a child process"
	}
	return fmt.Sprintf("only %s may", strings.Join(soleImporters[best], ", "))
}

// checkInternal holds internal/ small, and, once there are mains, free of
// packages that fewer than two others use.
func checkInternal(files []goFile) []string {
	users := map[string]map[string]bool{} // package -> importing folders
	mains := false
	for _, f := range files {
		if under(f.path, "internal") && users[f.dir()] == nil {
			users[f.dir()] = map[string]bool{}
		}
		mains = mains || under(f.path, "cmd")
	}
	for _, f := range files {
		for _, imported := range f.imports {
			if target, ok := inModule(imported); ok && users[target] != nil && target != f.dir() {
				users[target][f.dir()] = true
			}
		}
	}
	var out []string
	if len(users) > maxInternal {
		out = append(out, fmt.Sprintf("internal holds %d packages, more than %d", len(users), maxInternal))
	}
	for name, by := range users {
		if mains && len(by) < 2 {
			out = append(out, fmt.Sprintf("%s is imported by %d packages: at least two must, else it belongs to its user", name, len(by)))
		}
	}
	return out
}
