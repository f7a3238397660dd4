package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestOwnLogIsSetAside: where nobody else looks after the agent's log, the agent
// does, and goes on in a new file; a file elsewhere is not its own.
func TestOwnLogIsSetAside(t *testing.T) {
	b := newBox(t, "log")
	logs := filepath.Join(b.dir, "data", "logs")
	if err := os.MkdirAll(logs, 0o750); err != nil {
		t.Fatal(err)
	}
	old := bytes.Repeat([]byte("an old line\n"), ownLogBytes/12+1)
	run := func(path string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write(old); err != nil {
			t.Fatal(err)
		}
		cmd, _, _ := b.command("", "run")
		cmd.Stdout, cmd.Stderr = f, f
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		}()
		b.await(func(ctx context.Context) error { _, err := b.api().Info(ctx); return err })
		b.await(func(context.Context) error {
			text, err := os.ReadFile(path)
			if err == nil && !strings.Contains(string(text), "waiting for: stackato-agent init") {
				err = errors.New("the agent writes elsewhere")
			}
			return err
		})
	}
	log := filepath.Join(logs, "agent.log")
	sizes := func(want ...int) {
		t.Helper()
		for i, name := range []string{log, log + ".1", log + ".2", log + ".3", log + ".4"} {
			info, err := os.Stat(name)
			switch {
			case i >= len(want):
				if err == nil {
					t.Errorf("%s is too many", name)
				}
			case err != nil:
				t.Error(err)
			case info.Size() < int64(want[i]) || info.Size() > int64(want[i])+10<<10 || info.Mode().Perm() != 0o640:
				t.Errorf("%s has %d bytes, %s", name, info.Size(), info.Mode())
			}
		}
	}
	for range 5 {
		run(log)
	}
	sizes(0, len(old), len(old), len(old))

	elsewhere := filepath.Join(b.dir, "other.log")
	run(elsewhere)
	if _, err := os.Stat(elsewhere + ".1"); err == nil {
		t.Error("a file that is not the agent's was set aside")
	}
}
