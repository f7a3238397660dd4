package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLoadConfig(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "agent.yml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("data_dir: /srv/stackato\nzone: eu-1a\ntiming: wan\nports:\n  gossip: 8301\nchildren: false\nclock_offset: 1h\n")
	want := DefaultConfig()
	want.DataDir, want.Zone, want.Timing, want.Ports.Gossip, want.Children = "/srv/stackato", "eu-1b", "wan", 9301, false
	want.ClockOffset = time.Hour
	got, err := LoadConfig(file, []string{"STACKATO_ZONE=eu-1b", "STACKATO_GOSSIP_PORT=9301", "STACKATO_OTHER=x", "ZONE=none"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	write("")
	if got, err = LoadConfig(file, nil); err != nil || cmp.Diff(DefaultConfig(), got) != "" {
		t.Errorf("an empty file: %+v, %v", got, err)
	}

	refused := []struct {
		name, text, env string
		want            []string
	}{
		{"unknown field", "zone: a\nzones: b\n", "", []string{file, "line 2", "zones"}},
		{"unknown field below", "ports:\n  rpc: 1\n  raft: 2\n", "", []string{file, "line 3", "raft"}},
		{"wrong type", "zone: a\nports:\n  rpc: many\n", "", []string{file, "line 3", "many"}},
		{"relative directory", "data_dir: data\n", "", []string{"data_dir", `"data"`}},
		{"port", "ports:\n  http: 70000\n", "", []string{"ports.http", "70000"}},
		{"timing", "timing: fast\n", "", []string{"timing", "lan or wan"}},
		{"log level", "log_level: loud\n", "", []string{"log_level"}},
		{"address", "advertise: fd00::1\n", "", []string{"advertise", "IPv6"}},
		{"environment", "", "STACKATO_RPC_PORT=x", []string{"STACKATO_RPC_PORT"}},
		{"environment's value", "", "STACKATO_ZONE=a zone", []string{"environment", "zone"}},
	}
	for _, tt := range refused {
		write(tt.text)
		_, err := LoadConfig(file, []string{tt.env})
		if err == nil {
			t.Errorf("%s: accepted", tt.name)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not say %q", tt.name, err, want)
			}
		}
	}
	if _, err := LoadConfig(filepath.Join(t.TempDir(), "none.yml"), nil); err == nil {
		t.Error("a file that was named and does not exist was passed over")
	}
}
