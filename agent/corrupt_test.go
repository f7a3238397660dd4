package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/local"
)

// marker is a value that is found in the files of Raft.
const marker = "marker-0f4c1d7a9b"

// damage flips a bit of every occurrence of the marker in a file.
func damage(t testing.TB, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for i := 0; ; found++ {
		next := bytes.Index(data[i:], []byte(marker))
		if next < 0 {
			break
		}
		i += next + 3
		data[i] ^= 1
	}
	if found == 0 {
		t.Fatalf("%s does not hold the marker", path)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// newest returns the newest file that matches.
func newest(t testing.TB, pattern string) string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil || len(list) == 0 {
		t.Fatalf("%s: %q, %v", pattern, list, err)
	}
	return slices.MaxFunc(list, func(a, b string) int { return modified(t, a).Compare(modified(t, b)) })
}

func modified(t testing.TB, path string) time.Time {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.ModTime()
}

// TestCorruptState damages the files of one of three controllers: the agent
// names the file and what to do, and that works.
func TestCorruptState(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "controller")
	n1, n3 := g.machines[0], g.machines[2]
	tests := []struct {
		name     string
		snapshot bool
		damage   func() (path string)
	}{
		{"log tail", false, func() string {
			path := filepath.Join(n3.cfg.raftDir(), "log.db")
			damage(t, path)
			return path
		}},
		{"log cut off", false, func() string {
			path := filepath.Join(n3.cfg.raftDir(), "log.db")
			if err := os.Truncate(path, 3*4096); err != nil { // less than the smallest log uses
				t.Fatal(err)
			}
			return path
		}},
		{"snapshot", true, func() string {
			path := newest(t, filepath.Join(n3.cfg.raftDir(), "snapshots", "*", "state.bin"))
			damage(t, path)
			return path
		}},
		{"snapshot's members", true, func() string {
			path := newest(t, filepath.Join(n3.cfg.raftDir(), "snapshots", "*", "meta.json"))
			if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}},
	}
	for i, tt := range tests {
		if i > 0 && i < 3 && testing.Short() {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			value := fmt.Sprintf("%q", marker+tt.name)
			if _, err := n3.ConfigSet(n3.ctx(), local.ConfigSetRequest{Key: "app/marker", Value: []byte(value)}); err != nil {
				t.Fatal(err)
			}
			if tt.snapshot {
				if err := n3.node().role.cons.Snapshot(); err != nil {
					t.Fatal(err)
				}
			}
			n3.stop()
			path := tt.damage()
			n3.start()
			select {
			case <-n3.ended:
			case <-time.After(patience):
				t.Fatal("the agent works with a damaged file")
			}
			for _, want := range []string{path, "is damaged", "kato node remove", "stackato-agent reset", "join again"} {
				if n3.err == nil || !strings.Contains(n3.err.Error(), want) {
					t.Errorf("Run = %v, does not say %q", n3.err, want)
				}
			}
			n3.stop()

			// As the message says.
			if err := n1.NodeRemove(n1.ctx(), local.NodeRemoveRequest{Node: "n3", Force: true}, nil); err != nil {
				t.Fatal(err)
			}
			if err := Locked(n3.cfg, func() error { return Reset(n3.cfg) }); err != nil {
				t.Fatal(err)
			}
			n3.start().join(n1, "controller")
			g.settle()
			list, err := n3.ConfigList(n3.ctx(), "app")
			if err != nil || len(list) != 1 || string(list[0].Value) != value {
				t.Errorf("after the new join: %+v, %v", list, err)
			}
		})
	}
}

// TestDamagedNodeFiles damages what the agent itself keeps.
func TestDamagedNodeFiles(t *testing.T) {
	t.Parallel()
	files := []string{"node.json", "assignment.json", "pki/node.key", "pki/node.crt", "pki/sealing.keyring"}
	if testing.Short() {
		files = files[1:3]
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			m := newMachine(t, "n1").start()
			m.initialise()
			m.stop()
			path := m.cfg.path(file)
			if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			m.start()
			select {
			case <-m.ended:
			case <-time.After(patience):
				t.Fatal("the agent works with a damaged file")
			}
			for _, want := range []string{path, "stackato-agent reset"} {
				if m.err == nil || !strings.Contains(m.err.Error(), want) {
					t.Errorf("Run = %v, does not say %q", m.err, want)
				}
			}
		})
	}
}
