package serfagent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFilesAreWrittenWhenTheyChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config, keyring := filepath.Join(dir, "config.json"), filepath.Join(dir, "serf", "keyring")
	for i, want := range []bool{true, false} {
		if changed, err := WriteConfig(config, []byte("{}")); err != nil || changed != want {
			t.Fatalf("writing it %d times: changed %v, %v", i+1, changed, err)
		}
	}
	if changed, err := WriteConfig(config, []byte("{ }")); err != nil || !changed {
		t.Fatalf("another content: changed %v, %v", changed, err)
	}
	for _, keys := range [][]string{{"a"}, {"b", "a"}} {
		if err := WriteKeyring(keyring, keys); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.Stat(keyring)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteKeyring(keyring, []string{"b", "a"}); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(keyring)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("an unchanged keyring was written again (%v)", err)
	}
	if b, err := os.ReadFile(keyring); err != nil || string(b) != `["b","a"]` {
		t.Errorf("keyring %q, %v", b, err)
	}
	for _, f := range []string{config, keyring} {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
}

func TestCommonNamesTheField(t *testing.T) {
	t.Parallel()
	good := Common{
		Dir: "/x", BindAddr: "10.0.0.1", NodeName: "a", NodeID: "1",
		TLS: TLSFiles{"ca", "cert", "key"}, GossipKeys: []string{strings.Repeat("A", 43) + "="},
	}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Common){
		`path "x" of Dir`:               func(c *Common) { c.Dir = "x" },
		"NodeName and NodeID":           func(c *Common) { c.NodeID = "" },
		"TLS files":                     func(c *Common) { c.TLS.Key = "" },
		"BootstrapExpect is 3":          func(c *Common) { c.Server, c.BootstrapExpect = true, 3 },
		"BootstrapExpect on an agent":   func(c *Common) { c.BootstrapExpect = 1 },
		`BindAddr "::1"`:                func(c *Common) { c.BindAddr = "::1" },
		"gossip key 0 is not base64 of": func(c *Common) { c.GossipKeys = []string{"AAAA"} },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("want %q, have %v", want, err)
		}
	}
}
