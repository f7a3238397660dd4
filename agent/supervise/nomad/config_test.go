package nomad

import (
	"bytes"
	"encoding/base64"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/supervise/serfagent"
)

var update = flag.Bool("update", false, "write the golden files anew")

var testKey = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))

func golden() Config {
	return Config{
		Binary: "/opt/stackato/bin/nomad", Dir: "/var/lib/stackato/nomad",
		LogFile: "/var/lib/stackato/logs/nomad.log", BindAddr: "10.0.0.1",
		NodeName: "alpha", NodeID: "11111111-2222-4333-8444-555555555555",
		GossipKeys: []string{testKey},
		TLS:        serfagent.TLSFiles{CA: "/p/ca.pem", Cert: "/p/node.pem", Key: "/p/node.key"},
		RetryJoin:  []string{"10.0.0.2", "10.0.0.3:4648"},
		Client: ClientConfig{
			Enabled: true, Interface: "eth0",
			Meta:        map[string]string{"role_dea": "true", "zone": "a"},
			HostVolumes: map[string]HostVolume{"fence": {Path: "/run/stackato/fence"}, "tls": {Path: "/t", ReadOnly: true}},
			Reserved:    Reserved{CPU: 500, Memory: 1024, Disk: 2048, Ports: "22,7300-7302"},
		},
	}
}

func TestRenderGolden(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"first-server": func(c *Config) {
			c.Server, c.BootstrapExpect, c.RetryJoin, c.Client = true, 1, nil, ClientConfig{}
		},
		"server-and-client": func(c *Config) { c.Server = true },
		"client":            func(c *Config) { c.GossipKeys = nil },
		"server-wan": func(c *Config) {
			c.Server, c.Timing, c.Region, c.Datacenter, c.Client = true, WAN(), "moon", "dc9", ClientConfig{}
			c.Ports = Ports{HTTP: 1, RPC: 2, Serf: 3}
		},
		"client-in-container": func(c *Config) {
			c.Client = ClientConfig{
				Enabled: true, Interface: "eth0", MemoryTotal: 4096, CPUTotal: 2000, SharedEngine: true,
				DockerEndpoint: "unix:///run/docker-inner.sock", CgroupParent: "alpha.slice",
			}
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
			if strings.Contains(string(got), testKey) {
				t.Error("the configuration holds the gossip key")
			}
		})
	}
}

func TestHashLeavesOutWhatNeedsNoRestart(t *testing.T) {
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
		"gossip":    {func(c *Config) { c.GossipKeys = append([]string{testKey}, c.GossipKeys...) }, true},
		"metadata":  {func(c *Config) { c.Client.Meta = map[string]string{"x": "y"} }, true},
		"server":    {func(c *Config) { c.Server = false }, false},
		"client":    {func(c *Config) { c.Client.Enabled = false }, false},
		"address":   {func(c *Config) { c.BindAddr = "10.0.0.9" }, false},
		"heartbeat": {func(c *Config) { c.Timing = WAN() }, false},
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
		"BindAddr":                 func(c *Config) { c.BindAddr = "0.0.0.0" },
		"Dir":                      func(c *Config) { c.Dir = "nomad" },
		"NodeName":                 func(c *Config) { c.NodeID = "" },
		"TLS":                      func(c *Config) { c.TLS.Key = "" },
		"BootstrapExpect is 3":     func(c *Config) { c.BootstrapExpect = 3 },
		"no server":                func(c *Config) { c.BootstrapExpect = 1 },
		"server, a client or both": func(c *Config) { c.Client.Enabled = false },
		"gossip key is needed":     func(c *Config) { c.Server, c.GossipKeys = true, nil },
		"gossip key 0":             func(c *Config) { c.GossipKeys = []string{"c2hvcnQ="} },
		"Interface":                func(c *Config) { c.Client.Interface = "" },
		"host volume x":            func(c *Config) { c.Client.HostVolumes = map[string]HostVolume{"x": {Path: "rel"}} },
		"RaftMultiplier":           func(c *Config) { c.Timing = LAN(); c.Timing.RaftMultiplier = 11 },
		"every field of Timing":    func(c *Config) { c.Timing = LAN(); c.Timing.HeartbeatGrace = 0 },
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
	c.Server, c.Dir = true, filepath.Join(t.TempDir(), "nomad")
	for i, want := range []bool{true, false} {
		if changed, err := Write(c); err != nil || changed != want {
			t.Fatalf("write %d: changed %v, %v", i, changed, err)
		}
	}
	data := filepath.Join(c.Dir, "data")
	keyring := filepath.Join(data, "server", "serf.keyring")
	for path, want := range map[string]string{
		keyring: `["` + testKey + `"]`, filepath.Join(data, "server", "node-id"): c.NodeID,
		filepath.Join(data, "client", "client-id"): c.NodeID,
	} {
		b, err := os.ReadFile(path)
		if err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", path, b, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	// A server that missed a rotation, and ids that Nomad has already.
	if err := os.WriteFile(keyring, []byte(`["old"]`), 0o600); err != nil {
		t.Fatal(err)
	}
	first := c.NodeID
	c.NodeID = "99999999-2222-4333-8444-555555555555"
	if _, err := Write(c); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(keyring); err != nil || string(b) != `["`+testKey+`"]` {
		t.Errorf("keyring %s, %v", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(data, "client", "client-id")); err != nil || string(b) != first {
		t.Errorf("client id %s, %v; want it kept", b, err)
	}
}

func TestInterfaceOf(t *testing.T) {
	if name, err := InterfaceOf("127.0.0.1"); err != nil || name != "lo" {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := InterfaceOf("198.51.100.7"); err == nil || !strings.Contains(err.Error(), "198.51.100.7") {
		t.Errorf("%v", err)
	}
}
