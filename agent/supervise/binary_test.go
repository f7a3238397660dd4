package supervise

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]string{
		"Consul v1.21.0":        "1.21.0",
		"Nomad v1.10.5-dev+abc": "1.10.5",
		"tool 12.3.45 (x)":      "12.3.45",
		"no 1.2 version":        "",
		"":                      "",
	} {
		v, err := ParseVersion(text)
		if (err == nil) != (want != "") || (err == nil && v.String() != want) {
			t.Errorf("ParseVersion(%q) = %v, %v; want %q", text, v, err, want)
		}
	}
}

func TestRequirement(t *testing.T) {
	r := Requirement{"nomad", Version{1, 10, 0}, Version{1, 12, 0}}
	for v, want := range map[Version]bool{
		{1, 9, 9}: false, {1, 10, 0}: true, {1, 11, 99}: true, {1, 12, 0}: false, {2, 0, 0}: false, {0, 11, 0}: false,
	} {
		if r.Satisfied(v) != want {
			t.Errorf("%v: %v", v, !want)
		}
	}
}

// script writes a program that prints text.
func script(t *testing.T, dir, name, body string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLocate(t *testing.T) {
	need := Requirement{"tool-x", Version{1, 10, 0}, Version{1, 12, 0}}
	install, onPath, later := t.TempDir(), t.TempDir(), t.TempDir()
	t.Setenv("PATH", onPath+":relative:"+later)

	_, err := Locate(t.Context(), need, install)
	var missing *BinaryError
	if !errors.As(err, &missing) || len(missing.Rejected) != 0 ||
		!strings.Contains(err.Error(), "1.10.0 or later, but before 1.12.0") ||
		!strings.Contains(err.Error(), onPath) || !strings.Contains(err.Error(), "put a suitable tool-x into "+install) {
		t.Errorf("nothing there: %v", err)
	}

	old := script(t, install, "tool-x", `echo "Tool v1.9.7"`)
	broken := script(t, onPath, "tool-x", `exit 4`)
	if err := os.WriteFile(filepath.Join(later, "tool-x"), nil, 0o644); err != nil { // not executable
		t.Fatal(err)
	}
	_, err = Locate(t.Context(), need, install)
	if !errors.As(err, &missing) || len(missing.Rejected) != 2 {
		t.Fatalf("unsuitable ones: %v", err)
	}
	for _, part := range []string{old + " (version 1.9.7)", broken + " (command `version`: exit status 4)"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}

	good := script(t, later, "tool-x", `test "$1" = version && echo "Tool v1.11.0-dev"; echo "built with v9.9.9"`)
	if err := os.Chmod(good, 0o755); err != nil { // the file was there
		t.Fatal(err)
	}
	got, err := Locate(t.Context(), need, install)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Binary{Path: good, Version: Version{1, 11, 0}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAskVersionGetsCleanEnvironmentAndDeadline(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "/x")
	dir := t.TempDir()
	p := script(t, dir, "a", `if [ -n "$AWS_CA_BUNDLE" ]; then exit 1; fi; echo v1.2.3`)
	if v, err := AskVersion(t.Context(), p); err != nil || v != (Version{1, 2, 3}) {
		t.Errorf("%v, %v", v, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50_000_000)
	defer cancel()
	if _, err := AskVersion(ctx, script(t, dir, "b", `exec sleep 60`)); err == nil ||
		!strings.Contains(err.Error(), "does not answer") {
		t.Errorf("hanging program: %v", err)
	}
}

func TestFindOrderAndDuplicates(t *testing.T) {
	a, b, c := t.TempDir(), t.TempDir(), t.TempDir()
	pa, pb := script(t, a, "tool-y", ""), script(t, b, "tool-y", "")
	if err := os.Symlink(pa, filepath.Join(c, "tool-y")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", a+":"+c)
	if diff := cmp.Diff([]string{pb, pa}, Find("tool-y", b)); diff != "" {
		t.Error(diff)
	}
}
