package nomad

import (
	"context"
	"os"
	"path/filepath"

	"github.com/stackato/stackato/agent/supervise"
	"github.com/stackato/stackato/agent/supervise/serfagent"
	"github.com/stackato/stackato/internal/atomicfile"
)

// Write makes the directories (0700) and puts the configuration, the gossip
// keyring and, where there are none yet, the ids of client and server (0600)
// in place. changed reports whether the configuration differs from what was
// there. It does not touch a running process.
func Write(c Config) (changed bool, err error) {
	b, err := Render(c)
	if err != nil {
		return false, err
	}
	server, client := filepath.Join(c.dataDir(), "server"), filepath.Join(c.dataDir(), "client")
	for _, dir := range []string{server, client} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return false, err
		}
	}
	if c.Server {
		// Nomad reads the keyring file and ignores configured keys when there
		// is one, so this file is what counts after a missed rotation.
		if err := serfagent.WriteKeyring(filepath.Join(server, "serf.keyring"), c.GossipKeys); err != nil {
			return false, err
		}
		if err := writeOnce(filepath.Join(server, "node-id"), c.NodeID); err != nil {
			return false, err
		}
	}
	if c.Client.Enabled {
		if err := writeOnce(filepath.Join(client, "client-id"), c.NodeID); err != nil {
			return false, err
		}
	}
	return serfagent.WriteConfig(c.configFile(), b)
}

// writeOnce writes a file that does not exist or is empty.
func writeOnce(path, text string) error {
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		return nil
	}
	return atomicfile.Write(path, []byte(text), 0o600)
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
