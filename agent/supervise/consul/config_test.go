package consul

import (
	"bytes"
	"encoding/base64"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/supervise/serfagent"
)

var update = flag.Bool("update", false, "write the golden files anew")

var testKey = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))

func golden() Config {
	return Config{
		Binary: "/opt/stackato/bin/consul", Dir: "/var/lib/stackato/consul",
		LogFile: "/var/lib/stackato/logs/consul.log", BindAddr: "10.0.0.1",
		NodeName: "alpha", NodeID: "11111111-2222-4333-8444-555555555555",
		GossipKeys:        []string{testKey},
		TLS:               serfagent.TLSFiles{CA: "/p/ca.pem", Cert: "/p/node.pem", Key: "/p/node.key"},
		InitialManagement: "management-secret", AgentToken: "agent-secret", DNSToken: "dns-secret",
		RetryJoin: []string{"10.0.0.2", "10.0.0.3:8301"},
	}
}

func TestRenderGolden(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"first-server": func(c *Config) { c.Server, c.BootstrapExpect, c.RetryJoin = true, 1, nil },
		"server":       func(c *Config) { c.Server = true },
		"client":       func(*Config) {},
		"server-wan": func(c *Config) {
			c.Server, c.Profile, c.Datacenter = true, WAN, "dc9"
			c.Ports = Ports{HTTP: 1, DNS: 2, SerfLAN: 3, Server: 4}
			c.Stabilization = time.Second
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := golden()
			change(&c)
			got, err := Render(c)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestClientGetsNoManagementToken(t *testing.T) {
	b, err := Render(golden())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "management-secret") || strings.Contains(string(b), testKey) {
		t.Errorf("a client's configuration holds what it must not: %s", b)
	}
}

func TestHashLeavesOutWhatReloads(t *testing.T) {
	c := golden()
	c.Server = true
	base, err := c.hash()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*Config)
		same   bool
	}{
		"join":      {func(c *Config) { c.RetryJoin = append(c.RetryJoin, "10.0.0.4") }, true},
		"expect":    {func(c *Config) { c.BootstrapExpect = 1 }, true},
		"token":     {func(c *Config) { c.AgentToken = "x" }, true},
		"gossip":    {func(c *Config) { c.GossipKeys = append([]string{testKey}, c.GossipKeys...) }, true},
		"server":    {func(c *Config) { c.Server = false }, false},
		"address":   {func(c *Config) { c.BindAddr = "10.0.0.9" }, false},
		"port":      {func(c *Config) { c.Ports = Ports{1, 2, 3, 4} }, false},
		"tls paths": {func(c *Config) { c.TLS.Cert = "/q" }, false},
	} {
		d := c
		tt.change(&d)
		got, err := d.hash()
		if err != nil {
			t.Fatal(err)
		}
		if (got == base) != tt.same {
			t.Errorf("%s: same hash %v, want %v", name, got == base, tt.same)
		}
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"BindAddr":        func(c *Config) { c.BindAddr = "0.0.0.0" },
		"Dir":             func(c *Config) { c.Dir = "consul" },
		"NodeName":        func(c *Config) { c.NodeName = "" },
		"TLS":             func(c *Config) { c.TLS.Key = "" },
		"BootstrapExpect": func(c *Config) { c.BootstrapExpect = 3 },
		"no server":       func(c *Config) { c.BootstrapExpect = 1 },
		"gossip key":      func(c *Config) { c.GossipKeys = nil },
		"gossip key 0":    func(c *Config) { c.GossipKeys = []string{"c2hvcnQ="} },
		"profile":         func(c *Config) { c.Profile = "moon" },
	} {
		c := golden()
		change(&c)
		if _, err := Render(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestWrite(t *testing.T) {
	c := golden()
	c.Dir = filepath.Join(t.TempDir(), "consul")
	for i, want := range []bool{true, false} {
		if changed, err := Write(c); err != nil || changed != want {
			t.Fatalf("write %d: changed %v, %v", i, changed, err)
		}
	}
	keyring := filepath.Join(c.Dir, "data", "serf", "local.keyring")
	for path, mode := range map[string]os.FileMode{
		c.Dir: 0o700, filepath.Join(c.Dir, "config.json"): 0o600, keyring: 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, mode)
		}
	}
	// A node that missed a rotation: the file has an older key.
	if err := os.WriteFile(keyring, []byte(`["old"]`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(c); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(keyring)
	if err != nil || string(b) != `["`+testKey+`"]` {
		t.Errorf("keyring %s, %v", b, err)
	}
}

func TestServicesPolicy(t *testing.T) {
	got := ServicesPolicy([]string{"router", "dea", "router"}).Rules
	want := `service "dea" { policy = "write" }
service "router" { policy = "write" }
service_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
