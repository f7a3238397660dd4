package consul

import (
	"context"
	"path/filepath"

	"github.com/stackato/stackato/agent/supervise"
	"github.com/stackato/stackato/agent/supervise/serfagent"
)

// Write makes the directories (0700) and puts the configuration and the gossip
// keyring (0600) in place. changed reports whether the configuration differs
// from what was there. It does not touch a running process.
func Write(c Config) (changed bool, err error) {
	b, err := Render(c)
	if err != nil {
		return false, err
	}
	if err := serfagent.WriteKeyring(filepath.Join(c.dataDir(), "serf", "local.keyring"), c.GossipKeys); err != nil {
		return false, err
	}
	return serfagent.WriteConfig(c.configFile(), b)
}

// Apply writes the configuration and brings the child to it, see
// serfagent.Apply.
func Apply(ctx context.Context, child *supervise.Child, c Config) error {
	changed, err := Write(c)
	if err != nil {
		return err
	}
	spec, err := c.Spec()
	if err != nil {
		return err
	}
	return serfagent.Apply(ctx, child, spec, changed)
}
