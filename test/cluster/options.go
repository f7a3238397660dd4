package cluster

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// Labels of everything that the harness makes in the Docker Engine.
const (
	labelCluster = "stackato.cluster" // name of the cluster
	labelTest    = "stackato.test"    // run id; only on what a test may sweep away
	labelOwner   = "stackato.owner"   // process that made it, see owner
	labelNode    = "stackato.node"    // number of the node, from 1
)

const (
	subnetPrefix = "10.213"           // clusters take one free /24 each
	innerBridge  = "192.168.213.1/24" // docker0 inside every node; never routed
	maxNodes     = 200                // addresses .11 to .210
)

// Directories of a node's disk.
const (
	DataDir = "/var/lib/stackato"
	LogDir  = "/var/log/stackato"
)

// Options describes a cluster. The zero value is one node with every default.
type Options struct {
	// Nodes is how many machines to start, 1 to 200; 0 means 1. They are
	// named n1, n2, …
	Nodes int
	// Roles of node i (from 0) at Init or Join; nil means
	// [DefaultRoles]. An empty answer leaves the choice to the agent.
	Roles func(i int) []string
	// Zone of node i (from 0); nil means none.
	Zone func(i int) string
	// NoDocker starts no Docker Engine inside the nodes (saves 0.5 s and
	// 60 MiB each); nodes without dea and data roles need none.
	NoDocker bool
	// NoAgent leaves the agent of each node stopped at power-on, until
	// StartAgent.
	NoAgent bool
	// RestartAgent restarts an agent that ends, as systemd does. Without it
	// an agent that was killed or has ended stays down until StartAgent.
	RestartAgent bool
	// AgentEnv is added to the agent's environment, such as
	// STACKATO_CLOCK_OFFSET; see also [Node.SetAgentEnv].
	AgentEnv map[string]string
	// DataDiskMiB makes the data directory of each node an ext4 file system
	// of this size, so that it can be filled; 0 means no limit. Below 16
	// is refused.
	DataDiskMiB int
	// BinDir holds stackato-agent, kato, nomad and consul; "" means the
	// repository's bin.
	BinDir string
	// Logf receives progress; nil discards it. [New] sends it to the test.
	Logf func(format string, args ...any)

	name string // of the cluster; "" means a random one
	run  string // value of labelTest; "" means that it is no test's
}

// DefaultRoles gives the first three nodes controller, router and dea, the
// others dea.
func DefaultRoles(i int) []string {
	if i < 3 {
		return []string{"controller", "router", "dea"}
	}
	return []string{"dea"}
}

// EveryController gives every node the roles controller and router.
func EveryController(int) []string { return []string{"controller", "router"} }

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,30}$`)

func (o Options) withDefaults() (Options, error) {
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.Roles == nil {
		o.Roles = DefaultRoles
	}
	if o.Zone == nil {
		o.Zone = func(int) string { return "" }
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	if o.name == "" {
		o.name = "st-" + randomHex()
	}
	var err error
	if o.BinDir == "" {
		o.BinDir, err = repositoryDir("bin")
	}
	switch {
	case err != nil:
		return o, err
	case o.Nodes < 1 || o.Nodes > maxNodes:
		return o, fmt.Errorf("Nodes is %d; 1 to %d are possible", o.Nodes, maxNodes)
	case !validName.MatchString(o.name):
		return o, fmt.Errorf("the cluster's name %q is not made of at most 31 small letters, digits and dashes", o.name)
	case o.DataDiskMiB != 0 && o.DataDiskMiB < 16:
		return o, errors.New("DataDiskMiB is under 16: no ext4 file system with room for data")
	}
	return o, nil
}

// labels returns the arguments that mark an object as part of the cluster.
func (o Options) labels(more ...string) []string {
	pairs := slices.Concat([]string{labelCluster + "=" + o.name}, more)
	if o.run != "" {
		pairs = append(pairs, labelTest+"="+o.run, labelOwner+"="+ownerSelf())
	}
	args := make([]string, 0, 2*len(pairs))
	for _, p := range pairs {
		args = append(args, "--label", p)
	}
	return args
}
