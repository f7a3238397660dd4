package buildpacks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// needs is how a Python app says what it needs.
type needs string

// The ways, in the order in which they are looked for.
const (
	needsRequirements needs = "requirements.txt"
	needsPipenv       needs = "Pipfile"
	needsSetup        needs = "setup.py"
	needsProject      needs = "pyproject.toml"
	needsPoetry       needs = "pyproject.toml of Poetry"
	needsNothing      needs = ""
)

var (
	projectTable = regexp.MustCompile(`(?m)^[ \t]*\[[ \t]*project[ \t]*\]`)
	poetryTable  = regexp.MustCompile(`(?m)^[ \t]*\[[ \t]*tool[ \t]*\.[ \t]*poetry[ \t]*\]`)
)

// pythonNeeds looks at the app's files. A pyproject.toml that only configures
// tools asks for nothing.
func pythonNeeds(c *Context) (needs, error) {
	for _, n := range []needs{needsRequirements, needsPipenv, needsSetup} {
		if c.has(string(n)) {
			return n, nil
		}
	}
	if !c.has("pyproject.toml") {
		return needsNothing, nil
	}
	raw, err := c.read("pyproject.toml")
	switch {
	case err != nil:
		return needsNothing, err
	case projectTable.Match(raw):
		return needsProject, nil
	case poetryTable.Match(raw):
		return needsPoetry, nil
	}
	return needsNothing, nil
}

// refuse says how to get a requirements.txt out of what is not read here.
func (n needs) refuse() error {
	if n == needsPipenv {
		return errors.New("the app has a Pipfile, which is not read, and no requirements.txt: run \"pipenv requirements > requirements.txt\" and push again")
	}
	return errors.New("pyproject.toml names its dependencies in Poetry's own table, which is not read: run " +
		"\"poetry export --output requirements.txt\" and push again, or name them in a [project] table")
}

// arguments returns what pip is to install, as its arguments.
func (n needs) arguments(ctx context.Context, c *Context) ([]string, error) {
	switch n {
	case needsRequirements:
		return []string{"--requirement", "requirements.txt"}, nil
	case needsSetup:
		return []string{"--editable", "."}, nil
	case needsProject:
		return projectDependencies(ctx, c)
	}
	return nil, nil
}

// readProject prints the dependencies of a pyproject.toml, one on a line.
const readProject = `import sys, tomllib
try:
    with open("pyproject.toml", "rb") as f:
        project = tomllib.load(f)["project"]
except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
    sys.exit(f"pyproject.toml: {e}")
if "dependencies" in project.get("dynamic", []):
    sys.exit("pyproject.toml: dependencies that are dynamic are not read; push a requirements.txt")
print("\n".join(project.get("dependencies", [])))
`

// projectDependencies writes what the [project] table names where pip reads it.
// The app itself is not installed: it runs from its folder, and need be no
// package.
func projectDependencies(ctx context.Context, c *Context) ([]string, error) {
	var out strings.Builder
	python := filepath.Join(c.Dep(), "bin", "python")
	if err := c.Run(ctx, Command{Args: []string{python, "-c", readProject}, Stdout: &out}); err != nil {
		return nil, fmt.Errorf("the dependencies of pyproject.toml cannot be read: %w", err)
	}
	if strings.TrimSpace(out.String()) == "" {
		return nil, nil
	}
	file := filepath.Join(c.Temp, "requirements-of-project.txt")
	if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
		return nil, err
	}
	return []string{"--requirement", file}, nil
}
