package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTimeLimits: a run of tests that takes longer than it may fails although
// every test passed, says so, and says how to set another limit; not on a
// machine that was busy before. Tests that fail are not blamed on the clock.
func TestTimeLimits(t *testing.T) {
	const slow, failing = "test) sleep 2.1 ;;", "test) exit 1 ;;"
	over := []string{"every test passed, but they took", "the limit is 1s", "STACKATO_TEST_LIMIT=SECONDS, or 0", "tests (short): FAILED after"}
	tests := []struct {
		name, script, program, does, env string
		fails                            bool
		want                             []string
	}{
		{"over", "scripts/test short", "go", slow, "STACKATO_TEST_LIMIT=1", true, over},
		{"over, busy", "scripts/test short", "go", slow, "STACKATO_TEST_LIMIT=1", false, []string{"every test passed, but they took", "not held against them", "passed in"}},
		{"ci over, busy", ".ci/run", "make", slow, "STACKATO_CI_LIMIT=1", false, []string{"ci: everything passed, but", "not held against it", "ci: passed in"}},
		{"no limit", "scripts/test short", "go", slow, "STACKATO_TEST_LIMIT=0", false, []string{"tests (short): passed in"}},
		{"within", "scripts/test short", "go", slow, "STACKATO_TEST_LIMIT=", false, []string{"tests (short): passed in"}},
		{"compiling does not count", "scripts/test short", "go", "list) sleep 7 ;;", "STACKATO_TEST_LIMIT=5", false, []string{"compiling the tests: done", "passed in"}},
		{"failed", "scripts/test short", "go", failing, "STACKATO_TEST_LIMIT=1", true, []string{"tests (short): FAILED after"}},
		{"no number", "scripts/test short", "go", "", "STACKATO_TEST_LIMIT=3m", true, []string{"STACKATO_TEST_LIMIT is '3m'", "seconds, or 0"}},
		{"ci over", ".ci/run", "make", slow, "STACKATO_CI_LIMIT=1", true, []string{"ci: everything passed, but it took", "the limit is 1s", "ci: FAILED"}},
		{"ci within", ".ci/run", "make", slow, "STACKATO_CI_LIMIT=", false, []string{"ci: passed in"}},
		{"ci failed", ".ci/run", "make", failing, "X=", true, []string{"ci: FAILED"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			for _, file := range []string{"scripts/test", "scripts/progress.sh", ".ci/run"} {
				text, err := os.ReadFile(filepath.Join("..", file))
				must(t, err)
				must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, file)), 0o755))
				must(t, os.WriteFile(filepath.Join(root, file), text, 0o755))
			}
			must(t, os.WriteFile(filepath.Join(root, "scripts/packages"), []byte("#!/bin/sh\n"), 0o755))
			must(t, os.Mkdir(filepath.Join(root, "path"), 0o755))
			must(t, os.WriteFile(filepath.Join(root, "path", tt.program), []byte("#!/bin/sh\ncase $1 in\n"+tt.does+"\nesac\n"), 0o755))
			cores := "1000" // this machine may be busy
			if strings.Contains(tt.name, "busy") {
				cores = "0"
			}
			must(t, os.WriteFile(filepath.Join(root, "path/nproc"), []byte("#!/bin/sh\necho "+cores+"\n"), 0o755))
			args := strings.Fields(tt.script)
			cmd := exec.CommandContext(t.Context(), filepath.Join(root, args[0]), args[1:]...)
			cmd.Env = append(os.Environ(), tt.env, "PATH="+filepath.Join(root, "path")+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if (err != nil) != tt.fails {
				t.Errorf("%v:\n%s", err, out)
			}
			for _, want := range tt.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("does not say %q:\n%s", want, out)
				}
			}
			if said := strings.Contains(string(out), "passed, but"); said != strings.Contains(tt.name, "over") {
				t.Errorf("the limit is blamed: %v\n%s", said, out)
			}
		})
	}
}
