package test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRepository holds what anybody who opens the repository finds first.
func TestRepository(t *testing.T) {
	for file, wants := range map[string][]string{
		"go.mod":          {"module github.com/stackato/stackato\n", "\ngo 1.26"},
		"LICENSE":         {"Apache License", "Version 2.0, January 2004"},
		"CHANGELOG.md":    {"## [Unreleased]\n"},
		"CONTRIBUTING.md": {"## Layout", "## Who may import whom", "## Style", "## Tests"},
		"README.md":       {"## The parts", "## The two commands", "make micro", "make test", "262 s", "## Where to read on", "## Licence"},
	} {
		text := readText(t, file)
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not have %q", file, want)
			}
		}
	}
}

var makeTarget = regexp.MustCompile(`(?m)^([a-z-]+):[^=\n]*## \S`)

// TestMakefile holds the targets that are promised, each with a line of help,
// and that documents name no others.
func TestMakefile(t *testing.T) {
	targets := map[string]bool{}
	for _, m := range makeTarget.FindAllStringSubmatch(readText(t, "Makefile"), -1) {
		targets[m[1]] = true
	}
	for name := range strings.FieldsSeq("tools build micro micro-stop micro-reset cluster cluster-stop test test-short test-long lint bench clean") {
		if !targets[name] {
			t.Errorf("Makefile has no target %s with a line of help", name)
		}
	}
	named := regexp.MustCompile("(?m)(?:^|`|=1 )make ([a-z][a-z-]*)")
	for _, file := range documents(t) {
		for _, m := range named.FindAllStringSubmatch(readText(t, file), -1) {
			if !targets[m[1]] {
				t.Errorf("%s names make %s, which does not exist", file, m[1])
			}
		}
	}
}

// TestDecisions holds the form of docs/adr: numbers without gaps, the sections
// of the template, and an index that has them all.
func TestDecisions(t *testing.T) {
	files, err := filepath.Glob("../docs/adr/[0-9]*.md")
	if err != nil {
		t.Fatal(err)
	}
	index := readText(t, "docs/adr/README.md")
	for i, file := range files { // sorted
		name := filepath.Base(file)
		text := readText(t, "docs/adr/"+name)
		if !strings.HasPrefix(name, fmt.Sprintf("%04d-", i)) {
			t.Errorf("%s: the number should be %04d", name, i)
		}
		for _, section := range []string{"## Question", "## Decision", "## Why not", "## What follows"} {
			if !strings.Contains(text, section+"\n") {
				t.Errorf("%s has no section %q", name, section)
			}
		}
		if title, _, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n"); i > 0 {
			number, rest, _ := strings.Cut(title, ": ")
			if row := fmt.Sprintf("| [%s](%s) | %s |", number, name, rest); !strings.Contains(index, row) {
				t.Errorf("the index has no row %s", row)
			}
		}
	}
}

// TestLinks follows every link inside the repository.
func TestLinks(t *testing.T) {
	for _, file := range documents(t) {
		for _, problem := range brokenLinks(file, readText(t, file), func(path string) bool {
			_, err := os.Stat(filepath.Join("..", path))
			return err == nil
		}) {
			t.Error(problem)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)

func brokenLinks(file, text string, exists func(string) bool) []string {
	var problems []string
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		if strings.Contains(m[1], "://") {
			continue
		}
		if to := filepath.Join(filepath.Dir(file), m[1]); !exists(to) {
			problems = append(problems, fmt.Sprintf("%s: %s leads to %s, which does not exist", file, m[1], to))
		}
	}
	return problems
}

func TestLinksCanFail(t *testing.T) {
	text := "[a](b.md) [c](../d.md#e) [f](https://g/h) [i](j)"
	got := brokenLinks("docs/x.md", text, func(p string) bool { return p == "docs/j" })
	want := []string{"docs/x.md: b.md leads to docs/b.md, which does not exist", "docs/x.md: ../d.md leads to d.md, which does not exist"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// documents lists the Markdown files that people read, relative to the root.
func documents(t *testing.T) []string {
	t.Helper()
	found := []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
	err := filepath.WalkDir("../docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" && d.Name() != "0000-template.md" {
			found = append(found, filepath.ToSlash(strings.TrimPrefix(path, "../")))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func readText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
