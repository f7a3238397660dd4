package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const docsFile = "../../docs/operator/kato.md"

// TestDocs holds the reference page to the command tree. After a change of
// commands: go test ./cmd/kato -run TestDocs -update
func TestDocs(t *testing.T) {
	root := newApp(strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}).root()
	var page bytes.Buffer
	page.WriteString("# kato\n\n<!-- Made from the command tree by cmd/kato/docs_test.go: do not edit. -->\n\n")
	page.WriteString(root.Long + "\n\n## Flags of every command\n\n" + flags(root.PersistentFlags()))
	page.WriteString("\n## Shell completion\n\n`kato completion bash`, `zsh` or `fish` prints a script for the shell; roles, groups, nodes,\nprocesses, settings and tokens are completed from the cluster. For bash:\n\n    kato completion bash > /etc/bash_completion.d/kato\n")
	for _, c := range root.Commands() {
		document(&page, c)
	}
	if *update {
		if err := os.WriteFile(docsFile, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), page.String()); diff != "" {
		t.Errorf("%s is out of date: go test ./cmd/kato -run TestDocs -update\n%s", docsFile, diff)
	}
}

// document writes a section for each command that does something.
func document(page *bytes.Buffer, c *cobra.Command) {
	if c.HasSubCommands() {
		if !c.HasParent() || !c.Parent().HasParent() {
			fmt.Fprintf(page, "\n## kato %s\n\n%s.\n", c.Name(), c.Short)
			if c.Long != "" {
				fmt.Fprintf(page, "\n%s\n", c.Long)
			}
		}
		for _, sub := range c.Commands() {
			document(page, sub)
		}
		return
	}
	level := "###"
	if !c.Parent().HasParent() {
		level = "##"
	}
	fmt.Fprintf(page, "\n%s %s\n\n    %s\n\n", level, c.CommandPath(), c.UseLine())
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintln(page, strings.NewReplacer("<", "\\<", "\n  ", "\n      ").Replace(text)) // Markdown
	if f := flags(c.LocalNonPersistentFlags()); f != "" {
		fmt.Fprintf(page, "\n%s", f)
	}
	if c.Example != "" {
		fmt.Fprintf(page, "\n```\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
	}
}

// flags writes a table of flags, "" if there are none.
func flags(set *pflag.FlagSet) string {
	var out strings.Builder
	set.VisitAll(func(f *pflag.Flag) {
		if out.Len() == 0 {
			out.WriteString("| flag | |\n|---|---|\n")
		}
		kind, usage := pflag.UnquoteUsage(f)
		name := strings.TrimSpace("--" + f.Name + " " + kind)
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		fmt.Fprintf(&out, "| `%s` | %s |\n", name, strings.ReplaceAll(usage, "|", "\\|"))
	})
	return out.String()
}

// TestHelpTeaches demands of every command what a reader of --help needs.
func TestHelpTeaches(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s has no short text", c.CommandPath())
		}
		if !c.HasSubCommands() && c.HasParent() && !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s has no example of itself", c.CommandPath())
		}
		if !c.HasSubCommands() && c.Args == nil && c.ValidArgsFunction == nil {
			t.Errorf("%s takes any arguments", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newApp(strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}).root())
}
