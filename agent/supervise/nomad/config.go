package nomad

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"syscall"
	"time"

	"github.com/stackato/stackato/agent/supervise"
	"github.com/stackato/stackato/agent/supervise/serfagent"
)

// Required are the Nomad versions that the configuration is written for.
var Required = supervise.Requirement{
	Name:  "nomad",
	Min:   supervise.Version{Major: 1, Minor: 10, Patch: 0},
	Below: supervise.Version{Major: 1, Minor: 12, Patch: 0},
}

// LeaveSignal makes the process leave its peers before it ends.
const LeaveSignal = syscall.SIGINT

// HostNetwork is the name under which jobs ask for ports on the node's cluster
// address.
const HostNetwork = "cluster"

// Ports of a Nomad agent.
type Ports struct {
	HTTP int // API, on loopback
	RPC  int // on the node's address; other agents connect to servers only
	Serf int // gossip between servers, udp and tcp, on the node's address
}

// DefaultPorts are Nomad's own.
func DefaultPorts() Ports { return Ports{HTTP: 4646, RPC: 4647, Serf: 4648} }

// HostVolume is a directory of the node that jobs may mount. It is the only
// way to one: the Docker driver's own volumes are off.
type HostVolume struct {
	Path     string
	ReadOnly bool
}

// Reserved is what of a node is not given to jobs.
type Reserved struct {
	CPU    int    // MHz
	Memory int    // MiB
	Disk   int    // MiB
	Ports  string // like "22,7300-7302"
}

// Config describes the Nomad agent of a node.
type Config struct {
	Binary   string // absolute path, see Required
	Dir      string // absolute; holds config.json, nomad.pid and data/
	LogFile  string // absolute
	BindAddr string // the node's cluster address (IPv4), also advertised

	NodeName   string
	NodeID     string // UUID; the id of the Nomad client and of the server
	Region     string // default global
	Datacenter string // default dc1

	Server bool
	// BootstrapExpect is 1 on the very first server of a cluster and 0 on
	// every other one.
	BootstrapExpect int
	// RetryJoin are host or host:port: of servers' gossip when Server, else of
	// servers' RPC.
	RetryJoin []string
	// GossipKeys are base64 of 32 bytes each; the first encrypts, all decrypt.
	// While keys are rotated they must contain every key in use. Servers only.
	GossipKeys []string
	TLS        serfagent.TLSFiles

	Client ClientConfig

	Ports  Ports  // zero: DefaultPorts
	Timing Timing // zero: LAN()
	// StopGrace is from SIGTERM to SIGKILL. Default 20 s.
	StopGrace time.Duration
}

// ClientConfig is what only a client has.
type ClientConfig struct {
	Enabled bool
	// Interface whose address published ports get, see InterfaceOf.
	Interface string
	// Meta are the metadata at the first start; SetNodeMeta overrides them.
	Meta        map[string]string
	HostVolumes map[string]HostVolume
	Reserved    Reserved
	// MemoryTotal overrides what the node says it has, in MiB; CPUTotal the
	// same in MHz. For nodes that are containers.
	MemoryTotal, CPUTotal int
	// MaxKillTimeout bounds how long a job may ask to be given to stop.
	// Default 2 min.
	MaxKillTimeout time.Duration
	// DockerEndpoint default: the Docker client's own.
	DockerEndpoint string
	// SharedEngine says that other Nomad agents use this Docker Engine, too.
	// Without it Nomad removes, after 5 min, every container that was made by
	// a Nomad agent and is not its own.
	SharedEngine bool
	// CgroupParent default: nomad.slice (cgroup v2) or /nomad (v1).
	CgroupParent string
}

func (c Config) withDefaults() Config {
	if c.Region == "" {
		c.Region = "global"
	}
	if c.Datacenter == "" {
		c.Datacenter = "dc1"
	}
	if c.Ports == (Ports{}) {
		c.Ports = DefaultPorts()
	}
	if c.Timing == (Timing{}) {
		c.Timing = LAN()
	}
	if c.StopGrace == 0 {
		c.StopGrace = 20 * time.Second
	}
	if c.Client.MaxKillTimeout == 0 {
		c.Client.MaxKillTimeout = 2 * time.Minute
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
		return fmt.Errorf("nomad: %w", err)
	}
	switch {
	case !c.Server && !c.Client.Enabled:
		return errors.New("nomad: an agent must be a server, a client or both")
	case c.Server && len(c.GossipKeys) == 0:
		return errors.New("nomad: a gossip key is needed")
	case c.Client.Enabled && c.Client.Interface == "":
		return errors.New("nomad: Client.Interface is needed")
	}
	for name, v := range c.Client.HostVolumes {
		if !filepath.IsAbs(v.Path) {
			return fmt.Errorf("nomad: host volume %s: %q is not an absolute path", name, v.Path)
		}
	}
	return c.Timing.validate()
}

// hash covers what the process takes over only by a restart.
func (c Config) hash() (string, error) {
	c.RetryJoin, c.BootstrapExpect, c.Client.Meta = nil, 0, nil
	b, err := Render(c)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), err
}

// Spec says how the process is supervised. Write must have put its files
// there.
func (c Config) Spec() (supervise.Spec, error) {
	c = c.withDefaults()
	hash, err := c.hash()
	if err != nil {
		return supervise.Spec{}, err
	}
	return supervise.Spec{
		Name: "nomad", Path: c.Binary,
		Args: []string{"agent", "-config=" + c.configFile()},
		Env:  supervise.CleanEnv(c.Dir), Dir: c.Dir,
		LogFile: c.LogFile, PIDFile: filepath.Join(c.Dir, "nomad.pid"),
		StopGrace: c.StopGrace, ConfigHash: hash,
		// A node whose Nomad is away for longer than its heartbeat loses its
		// instances: be back soon.
		Backoff: supervise.Backoff{Max: 5 * time.Second},
	}, nil
}

// InterfaceOf returns the name of the network interface that has the address.
func InterfaceOf(addr string) (string, error) {
	want, err := netip.ParseAddr(addr)
	if err != nil {
		return "", err
	}
	ifs, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, i := range ifs {
		addrs, err := i.Addrs()
		if err != nil {
			return "", fmt.Errorf("addresses of %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap() == want {
				return i.Name, nil
			}
		}
	}
	return "", fmt.Errorf("no network interface has the address %s: name one of this machine's own", addr)
}
