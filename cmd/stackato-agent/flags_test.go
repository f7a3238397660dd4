package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stackato/stackato/test/doctable"
)

// TestFlags: every field of the configuration that an operator may want is a
// flag of run, or of init and join, and goes over environment and file.
func TestFlags(t *testing.T) {
	tables, err := doctable.Read("../../docs/operator/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	root := newRoot()
	has := func(command, flag string) bool {
		c, _, err := root.Find([]string{command})
		return err == nil && (c.Flags().Lookup(flag) != nil || root.PersistentFlags().Lookup(flag) != nil)
	}
	for _, row := range tables[0].Rows {
		flag := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(row.Cells[2], "STACKATO_"), "_", "-"))
		switch flag {
		case "children", "clock-offset": // for tests
		case "name", "advertise", "zone":
			if !has("init", flag) || !has("join", flag) {
				t.Errorf("init and join have no flag --%s", flag)
			}
		default:
			if !has("run", flag) {
				t.Errorf("run has no flag --%s", flag)
			}
		}
	}

	file := filepath.Join(t.TempDir(), "agent.yml")
	if err := os.WriteFile(file, []byte("log_level: warn\ntiming: lan\nports:\n  rpc: 7400\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("STACKATO_LOG_LEVEL", "error")
	load := func(args ...string) (string, string, int, error) {
		o := &options{config: file}
		run := newRun(o)
		if err := run.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		c, err := o.load()
		return c.LogLevel, c.Timing, c.Ports.RPC, err
	}
	if level, timing, port, err := load("--log-level", "debug", "--timing=wan", "--rpc-port=7500"); err != nil || level != "debug" || timing != "wan" || port != 7500 {
		t.Errorf("flags: %s, %s, %d, %v", level, timing, port, err)
	}
	if level, timing, port, err := load(); err != nil || level != "error" || timing != "lan" || port != 7400 {
		t.Errorf("no flags: %s, %s, %d, %v", level, timing, port, err)
	}
	if _, _, _, err := load("--api-port=many"); err == nil || !strings.Contains(err.Error(), "STACKATO_API_PORT") {
		t.Errorf("a port that is no number: %v", err)
	}
	if _, _, _, err := load("--timing=slow"); err == nil || !slices.Contains(strings.Fields(err.Error()), `"slow":`) {
		t.Errorf("a timing that does not exist: %v", err)
	}
}

// TestUsage: who types a command wrong is told how it is typed.
func TestUsage(t *testing.T) {
	b := newBox(t, "usage")
	for args, want := range map[string]string{
		"token revoke":  "usage: stackato-agent token revoke ID",
		"leave cluster": "usage: stackato-agent leave",
		"run --frob":    "usage: stackato-agent run",
		"frob":          "see stackato-agent --help",
	} {
		cmd, _, errs := b.command("", strings.Fields(args)...)
		if err := cmd.Run(); err == nil || !strings.Contains(errs.String(), "→ "+want) {
			t.Errorf("%s: %v, %s", args, err, errs)
		}
	}
	// What fails later does so with its own words.
	cmd, _, errs := b.command("", "token", "list")
	if err := cmd.Run(); err == nil || strings.Contains(errs.String(), "usage") {
		t.Errorf("%v, %s", err, errs)
	}
}
