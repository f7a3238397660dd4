package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
)

// DefaultConfigFile is read when it exists and no other is named.
const DefaultConfigFile = "/etc/stackato/agent.yml"

// Config is the agent's configuration. It comes, each over the one before,
// from defaults, the file agent.yml (decoded strictly), STACKATO_* variables
// of the environment and flags.
type Config struct {
	// DataDir holds everything the node keeps. Default /var/lib/stackato.
	DataDir string `yaml:"data_dir"`
	// Name of the node, a DNS label. Default: the host name's first label.
	// Used by init and join only.
	Name string `yaml:"name"`
	// Advertise is the IPv4 address that other nodes reach this one at.
	// Default: that of the interface with the default route. Used by
	// init and join only.
	Advertise string `yaml:"advertise"`
	// Zone is the availability zone. Default "default". Used by init and
	// join only.
	Zone string `yaml:"zone"`
	// Timing is lan (a dead Primary is replaced in under a second) or wan
	// (round trips up to 200 ms). Default lan. The same on every node.
	Timing string `yaml:"timing"`
	// LogLevel is debug, info, warn or error. Default info.
	LogLevel string `yaml:"log_level"`
	// Ports that the agent listens on.
	Ports Ports `yaml:"ports"`
	// Consul and Nomad are the paths of the programs. Default: found beside
	// the agent's own program, then on PATH.
	Consul string `yaml:"consul"`
	Nomad  string `yaml:"nomad"`
	// Children is false on a node that runs neither Consul nor Nomad, for
	// tests of the agent alone. Default true.
	Children bool `yaml:"children"`
	// DockerSocket is where the Docker Engine answers. Default
	// /var/run/docker.sock.
	DockerSocket string `yaml:"docker_socket"`
	// RoleGroups is the file with the administrators' role groups. Default
	// /s/etc/kato/role_groups.yml.
	RoleGroups string `yaml:"role_groups"`
	// HostsFile is where a micro cloud keeps its names, because neither the C
	// library nor Go resolve those below .localhost. Default /etc/hosts; ""
	// writes none.
	HostsFile string `yaml:"hosts_file"`
	// ClockOffset is added to the machine's clock, for tests of what months
	// do to certificates. Default 0.
	ClockOffset time.Duration `yaml:"clock_offset"`
}

// Ports are TCP ports on the node's address (Gossip: UDP too); HTTP is on
// loopback. Consul and Nomad use their own usual ports.
type Ports struct {
	RPC    int `yaml:"rpc"`    // default 7300
	Gossip int `yaml:"gossip"` // default 7301
	HTTP   int `yaml:"http"`   // default 7302, health and metrics on loopback
	// API is where a controller's Cloud Controller listens for routers,
	// default 7303; the same on every node.
	API int `yaml:"api"`
	// RouterHTTP and RouterHTTPS are the router's, on every address; defaults
	// 80 and 443.
	RouterHTTP  int `yaml:"router_http"`
	RouterHTTPS int `yaml:"router_https"`
	// RouterHealth is where load balancers ask how the router is, on every
	// address; default 7304.
	RouterHealth int `yaml:"router_health"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		DataDir: "/var/lib/stackato", Zone: node.DefaultZone, Timing: "lan", LogLevel: "info",
		Ports:        Ports{RPC: 7300, Gossip: 7301, HTTP: 7302, API: 7303, RouterHTTP: 80, RouterHTTPS: 443, RouterHealth: 7304},
		Children:     true,
		DockerSocket: "/var/run/docker.sock", RoleGroups: "/s/etc/kato/role_groups.yml", HostsFile: "/etc/hosts",
	}
}

// LoadConfig reads the configuration. An empty path means DefaultConfigFile
// if that exists. env is the environment, such as os.Environ().
func LoadConfig(path string, env []string) (Config, error) {
	c := DefaultConfig()
	optional := path == ""
	if optional {
		path = DefaultConfigFile
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && optional:
	case err != nil:
		return c, fmt.Errorf("configuration: %w", err)
	default:
		d := yaml.NewDecoder(bytes.NewReader(data))
		d.KnownFields(true)
		if err := d.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
			return c, fmt.Errorf("%s: %w", path, err) // names line and field
		}
	}
	if err := c.fromEnv(env); err != nil {
		return c, err
	}
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("%s, environment or flags: %w", path, err)
	}
	return c, nil
}

// fromEnv takes over STACKATO_* variables that name a field.
func (c *Config) fromEnv(env []string) error {
	texts := map[string]*string{
		"STACKATO_DATA_DIR": &c.DataDir, "STACKATO_NAME": &c.Name, "STACKATO_ADVERTISE": &c.Advertise,
		"STACKATO_ZONE": &c.Zone, "STACKATO_TIMING": &c.Timing, "STACKATO_LOG_LEVEL": &c.LogLevel,
		"STACKATO_CONSUL": &c.Consul, "STACKATO_NOMAD": &c.Nomad,
		"STACKATO_DOCKER_SOCKET": &c.DockerSocket, "STACKATO_ROLE_GROUPS": &c.RoleGroups,
		"STACKATO_HOSTS_FILE": &c.HostsFile,
	}
	numbers := map[string]*int{
		"STACKATO_RPC_PORT": &c.Ports.RPC, "STACKATO_GOSSIP_PORT": &c.Ports.Gossip, "STACKATO_HTTP_PORT": &c.Ports.HTTP,
		"STACKATO_API_PORT": &c.Ports.API, "STACKATO_ROUTER_HTTP_PORT": &c.Ports.RouterHTTP, "STACKATO_ROUTER_HTTPS_PORT": &c.Ports.RouterHTTPS,
		"STACKATO_ROUTER_HEALTH_PORT": &c.Ports.RouterHealth,
	}
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		var err error
		switch {
		case texts[k] != nil:
			*texts[k] = v
		case numbers[k] != nil:
			*numbers[k], err = strconv.Atoi(v)
		case k == "STACKATO_CHILDREN":
			c.Children, err = strconv.ParseBool(v)
		case k == "STACKATO_CLOCK_OFFSET":
			c.ClockOffset, err = time.ParseDuration(v)
		}
		if err != nil {
			return fmt.Errorf("%s (environment, or the flag for it): %w", k, err)
		}
	}
	return nil
}

// Validate names the first field that cannot be.
func (c Config) Validate() error {
	if !filepath.IsAbs(c.DataDir) {
		return fmt.Errorf("data_dir %q is not an absolute path", c.DataDir)
	}
	if c.Name != "" {
		if err := node.CheckName(c.Name); err != nil {
			return fmt.Errorf("name: %w", err)
		}
	}
	if c.Advertise != "" {
		if _, err := node.CheckAddress(c.Advertise); err != nil {
			return fmt.Errorf("advertise: %w", err)
		}
	}
	if err := node.CheckZone(c.Zone); err != nil {
		return fmt.Errorf("zone: %w", err)
	}
	if _, err := consensus.TimingProfile(c.Timing); err != nil {
		return fmt.Errorf("timing: %w", err)
	}
	if _, err := c.Level(); err != nil {
		return fmt.Errorf("log_level: %w", err)
	}
	for name, p := range map[string]int{
		"rpc": c.Ports.RPC, "gossip": c.Ports.Gossip, "http": c.Ports.HTTP, "api": c.Ports.API,
		"router_http": c.Ports.RouterHTTP, "router_https": c.Ports.RouterHTTPS, "router_health": c.Ports.RouterHealth,
	} {
		if p < 1 || p > 65535 {
			return fmt.Errorf("ports.%s: %d is not from 1 to 65535", name, p)
		}
	}
	return nil
}

// Level is LogLevel for slog.
func (c Config) Level() (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return l, fmt.Errorf("%q is none of debug, info, warn and error", c.LogLevel)
	}
	return l, nil
}

// Now is the node's clock.
func (c Config) Now() time.Time { return time.Now().Add(c.ClockOffset) }

// Paths of the data directory; docs/operator/ports-and-files.md has the list.
func (c Config) path(parts ...string) string {
	return filepath.Join(append([]string{c.DataDir}, parts...)...)
}

// SocketPath is where the local API listens.
func (c Config) SocketPath() string { return c.path("run", "agent.sock") }

func (c Config) lockFile() string         { return c.path("run", "agent.lock") }
func (c Config) identityFile() string     { return c.path("node.json") }
func (c Config) foundingFile() string     { return c.path("founding.json") }
func (c Config) assignmentFile() string   { return c.path("assignment.json") }
func (c Config) keyFile() string          { return c.path("pki", "node.key") }
func (c Config) certFile() string         { return c.path("pki", "node.crt") }
func (c Config) caFile() string           { return c.path("pki", "ca.crt") }
func (c Config) routerCAFile() string     { return c.path("router-ca.crt") }
func (c Config) routerCertFile() string   { return c.path("pki", "router.pem") }
func (c Config) routerConfigFile() string { return c.path("pki", "router-config.json") }
func (c Config) ringFile() string         { return c.path("pki", "sealing.keyring") }
func (c Config) adminFile() string        { return c.path("admin.txt") }
func (c Config) toolsFile() string        { return c.path("tools.env") }
func (c Config) fenceDir() string         { return c.path("fence") }
func (c Config) raftDir() string          { return c.path("raft") }
