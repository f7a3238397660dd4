package member

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNewRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(*Config)
		want   string
	}{
		"no id":         {func(c *Config) { c.ID = "" }, "not a UUID"},
		"bad name":      {func(c *Config) { c.Name = "Node 1" }, "DNS label"},
		"no cluster":    {func(c *Config) { c.ClusterID = "" }, "cluster id"},
		"no key":        {func(c *Config) { c.Keys = nil }, "always encrypted"},
		"short key":     {func(c *Config) { c.Keys = [][]byte{testKey, []byte("short")} }, "key 2 has 5 bytes"},
		"many keys":     {func(c *Config) { c.Keys = make([][]byte, 5) }, "at most 4"},
		"profile":       {func(c *Config) { c.Profile = "fast" }, "use lan or wan"},
		"no address":    {func(c *Config) { c.Endpoint = nil }, "advertise address"},
		"bind name":     {func(c *Config) { c.Endpoint, c.BindAddr = nil, "localhost" }, "not an IP address"},
		"advertise any": {func(c *Config) { c.Endpoint, c.AdvertiseAddr = nil, "0.0.0.0" }, "cannot be reached"},
		"port":          {func(c *Config) { c.Endpoint, c.Port = nil, 70000 }, "port 70000"},
		"metadata":      {func(c *Config) { c.Meta = func() Meta { return Meta{Zone: strings.Repeat("z", 99)} } }, "zone has 99 bytes"},
		"retain":        {func(c *Config) { c.Retain = -time.Second }, "Retain"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, NewNetwork(), "n1")
			tt.change(&cfg)
			_, err := New(cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v does not say %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), string(testKey)) {
				t.Errorf("the error tells the key: %v", err)
			}
		})
	}
}

func TestParseProfile(t *testing.T) {
	for s, ok := range map[string]bool{"lan": true, "wan": true, "test": false, "": false, "LAN": false} {
		if _, err := ParseProfile(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// New starts nothing; what needs the network says so or waits.
func TestBeforeRun(t *testing.T) {
	g, err := New(testConfig(t, NewNetwork(), "n1"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := g.Join(ctx, []string{"10.90.0.9:7946"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Join: %v", err)
	}
	if err := g.Leave(t.Context(), time.Second); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Leave: %v", err)
	}
	if err := g.UpdateMeta(); err != nil {
		t.Errorf("UpdateMeta: %v", err)
	}
	if len(g.Members()) != 0 || g.Addr().IsValid() {
		t.Error("it has members or an address")
	}
}

func TestRing(t *testing.T) {
	key := func(b byte) []byte { return []byte(strings.Repeat(string(b), 32)) }
	r, err := newRing([][]byte{key('a'), key('b'), key('c'), key('d')})
	if err != nil {
		t.Fatal(err)
	}
	held := r.kr.GetKeys() // as a reader in memberlist holds it
	before := append([][]byte(nil), held...)
	if err := r.remove(key('b')); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([][]byte{key('a'), key('c'), key('d')}, r.keys()); d != "" {
		t.Errorf("after remove (-want +got):\n%s", d)
	}
	if d := cmp.Diff(before, held); d != "" {
		t.Errorf("a reader's slice was changed under it:\n%s", d)
	}
	if err := r.install(key('e')); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func([]byte) error
		key  byte
		want error
	}{
		{"install into a full ring", r.install, 'f', ErrTooManyKeys},
		{"install again", r.install, 'e', nil},
		{"remove the one in use", r.remove, 'a', ErrPrimaryKey},
		{"remove an unknown one", r.remove, 'x', nil},
		{"use an unknown one", r.use, 'x', ErrUnknownKey},
		{"use a known one", r.use, 'e', nil},
		{"remove the old one", r.remove, 'a', nil},
	} {
		if err := step.do(key(step.key)); !errors.Is(err, step.want) {
			t.Errorf("%s: %v, want %v", step.name, err, step.want)
		}
	}
	if d := cmp.Diff([][]byte{key('e'), key('c'), key('d')}, r.keys()); d != "" {
		t.Errorf("at the end (-want +got):\n%s", d)
	}
	r.keys()[0][0] = 'X'
	if r.keys()[0][0] == 'X' {
		t.Error("keys gives the ring's own bytes away")
	}
	if KeyFingerprint(key('a')) == KeyFingerprint(key('b')) || strings.Contains(KeyFingerprint(key('a')), "aaaa") {
		t.Error("fingerprints do not tell keys apart, or give them away")
	}
}
