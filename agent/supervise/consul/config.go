package consul

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/stackato/stackato/agent/supervise"
	"github.com/stackato/stackato/agent/supervise/serfagent"
)

// Required are the Consul versions that the configuration is written for.
var Required = supervise.Requirement{
	Name:  "consul",
	Min:   supervise.Version{Major: 1, Minor: 21, Patch: 0},
	Below: supervise.Version{Major: 1, Minor: 23, Patch: 0},
}

// Ports of a Consul agent. Those for Consul features that are not used are
// switched off.
type Ports struct {
	HTTP    int // API, on loopback
	DNS     int // udp and tcp, on loopback
	SerfLAN int // gossip, udp and tcp, on the node's address
	Server  int // RPC between agents, on the node's address (servers)
}

// DefaultPorts are Consul's own.
func DefaultPorts() Ports { return Ports{HTTP: 8500, DNS: 8600, SerfLAN: 8301, Server: 8300} }

// Profile is a set of timings.
type Profile string

// The profiles: LAN detects failures fast, WAN tolerates slow links.
const (
	LAN Profile = "lan"
	WAN Profile = "wan"
)

// Config describes the Consul agent of a node.
type Config struct {
	Binary   string // absolute path, see Required
	Dir      string // absolute; holds config.json, consul.pid and data/
	LogFile  string // absolute
	BindAddr string // the node's cluster address (IPv4), also advertised

	NodeName   string
	NodeID     string // UUID
	Datacenter string // default dc1

	Server bool
	// BootstrapExpect is 1 on the very first server of a cluster and 0 on
	// every other one.
	BootstrapExpect int
	RetryJoin       []string // host or host:port of servers' gossip

	// GossipKeys are base64 of 32 bytes each; the first encrypts, all decrypt.
	// While keys are rotated they must contain every key in use.
	GossipKeys []string
	TLS        serfagent.TLSFiles

	InitialManagement string // secret of the management token (servers)
	AgentToken        string // secret of the node's own token
	DNSToken          string // secret of a token that may read services; without it DNS answers nothing

	Ports   Ports   // zero: DefaultPorts
	Profile Profile // default LAN
	// Stabilization is how long a new server must be healthy before it votes;
	// used only when a cluster is made. Default: Consul's 10 s.
	Stabilization time.Duration
	// StopGrace is from SIGTERM to SIGKILL. Default 20 s.
	StopGrace time.Duration
}

func (c Config) withDefaults() Config {
	if c.Datacenter == "" {
		c.Datacenter = "dc1"
	}
	if c.Ports == (Ports{}) {
		c.Ports = DefaultPorts()
	}
	if c.Profile == "" {
		c.Profile = LAN
	}
	if c.Stabilization == 0 {
		c.Stabilization = 10 * time.Second
	}
	if c.StopGrace == 0 {
		c.StopGrace = 20 * time.Second
	}
	return c
}

// HTTPAddress is where the API of this agent is, as host:port.
func (c Config) HTTPAddress() string {
	return fmt.Sprintf("127.0.0.1:%d", c.withDefaults().Ports.HTTP)
}

func (c Config) dataDir() string    { return filepath.Join(c.Dir, "data") }
func (c Config) configFile() string { return filepath.Join(c.Dir, "config.json") }

// Validate names the first field that cannot be.
func (c Config) Validate() error {
	c = c.withDefaults()
	common := serfagent.Common{
		Dir: c.Dir, BindAddr: c.BindAddr, NodeName: c.NodeName, NodeID: c.NodeID,
		Server: c.Server, BootstrapExpect: c.BootstrapExpect, GossipKeys: c.GossipKeys, TLS: c.TLS,
	}
	if err := common.Validate(); err != nil {
		return fmt.Errorf("consul: %w", err)
	}
	switch {
	case c.Profile != LAN && c.Profile != WAN:
		return fmt.Errorf("consul: profile %q is neither lan nor wan", c.Profile)
	case len(c.GossipKeys) == 0:
		return errors.New("consul: a gossip key is needed")
	}
	return nil
}

type object = map[string]any

// Render returns the configuration file. The same Config gives the same bytes.
// It holds token secrets.
func Render(c Config) ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	out := object{
		"node_name":      c.NodeName,
		"node_id":        c.NodeID,
		"datacenter":     c.Datacenter,
		"domain":         "consul",
		"data_dir":       c.dataDir(),
		"bind_addr":      c.BindAddr,
		"advertise_addr": c.BindAddr,
		"client_addr":    "127.0.0.1",
		"server":         c.Server,
		"retry_join":     append([]string{}, c.RetryJoin...),
		"retry_interval": "500ms",
		"ports": object{
			"http": c.Ports.HTTP, "dns": c.Ports.DNS, "serf_lan": c.Ports.SerfLAN, "server": c.Ports.Server,
			"https": -1, "grpc": -1, "grpc_tls": -1, "serf_wan": -1,
		},
		"acl": object{
			"enabled": true, "default_policy": "deny", "down_policy": "extend-cache",
			// This file is where tokens are kept.
			"enable_token_persistence": false,
			"tokens":                   c.tokens(),
		},
		"tls": object{
			"defaults": object{
				"ca_file": c.TLS.CA, "cert_file": c.TLS.Cert, "key_file": c.TLS.Key,
				"verify_outgoing": true, "tls_min_version": "TLSv1_2",
			},
			"internal_rpc": object{"verify_incoming": true, "verify_server_hostname": true},
		},
		"performance":           c.performance(),
		"limits":                object{"http_max_conns_per_client": 1000},
		"connect":               object{"enabled": false},
		"peering":               object{"enabled": false},
		"telemetry":             object{"disable_hostname": true},
		"log_level":             "INFO",
		"server_rejoin_age_max": "87600h",
		// The process leaves only when it is told to by the API; a stop or a
		// restart keeps its place.
		"leave_on_terminate":          false,
		"skip_leave_on_interrupt":     true,
		"rejoin_after_leave":          true,
		"disable_update_check":        true,
		"disable_anonymous_signature": true,
		"disable_coordinates":         true,
		"disable_remote_exec":         true,
		"enable_script_checks":        false,
		"enable_local_script_checks":  false,
		"enable_syslog":               false,
		"ui_config":                   object{"enabled": false},
	}
	if c.Server {
		out["autopilot"] = object{
			"cleanup_dead_servers": true, "server_stabilization_time": c.Stabilization.String(),
		}
	}
	if c.BootstrapExpect > 0 {
		out["bootstrap_expect"] = c.BootstrapExpect
	}
	if c.Profile == WAN {
		out["gossip_lan"] = object{
			"probe_interval": "5s", "probe_timeout": "3s", "gossip_interval": "500ms", "suspicion_mult": 6,
		}
	}
	b, err := json.MarshalIndent(out, "", "  ")
	return append(b, '\n'), err
}

func (c Config) tokens() object {
	t := object{}
	if c.Server && c.InitialManagement != "" {
		t["initial_management"] = c.InitialManagement
	}
	if c.AgentToken != "" {
		t["agent"] = c.AgentToken
	}
	if c.DNSToken != "" {
		t["dns"] = c.DNSToken
	}
	return t
}

func (c Config) performance() object {
	if c.Profile == WAN {
		return object{"raft_multiplier": 5}
	}
	return object{"raft_multiplier": 1}
}

// hash covers what the process takes over only by a restart.
func (c Config) hash() (string, error) {
	c.RetryJoin, c.BootstrapExpect = nil, 0
	c.InitialManagement, c.AgentToken, c.DNSToken = "", "", ""
	b, err := Render(c)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), err
}

// stopAgain is the time between two signals to stop. A second one ends a Consul
// that leaves on the signal; ours does not, see leave_on_terminate.
const stopAgain = 250 * time.Millisecond

// Spec says how the process is supervised. Write must have put its files
// there.
func (c Config) Spec() (supervise.Spec, error) {
	c = c.withDefaults()
	hash, err := c.hash()
	if err != nil {
		return supervise.Spec{}, err
	}
	return supervise.Spec{
		Name: "consul", Path: c.Binary,
		Args: []string{"agent", "-config-file=" + c.configFile()},
		Env:  supervise.CleanEnv(c.Dir), Dir: c.Dir,
		LogFile: c.LogFile, PIDFile: filepath.Join(c.Dir, "consul.pid"),
		StopGrace: c.StopGrace, StopAgain: stopAgain, ConfigHash: hash,
	}, nil
}
