package nomad

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/stackato/stackato/agent/supervise"
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
		if err := writeKeyring(filepath.Join(server, "serf.keyring"), c.GossipKeys); err != nil {
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
	old, err := os.ReadFile(c.configFile())
	if err == nil && bytes.Equal(old, b) {
		return false, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	return true, atomicfile.Write(c.configFile(), b, 0o600)
}

// writeOnce writes a file that does not exist or is empty.
func writeOnce(path, text string) error {
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		return nil
	}
	return atomicfile.Write(path, []byte(text), 0o600)
}

// writeKeyring writes keys, the primary first, unless they are there. The
// format is Serf's: a JSON list.
func writeKeyring(path string, keys []string) error {
	var old []string
	if b, err := os.ReadFile(path); err == nil && json.Unmarshal(b, &old) == nil && slices.Equal(old, keys) {
		return nil
	}
	b, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, b, 0o600)
}

// Apply writes the configuration and brings the child to it: by a restart
// when it needs one, else by a reload.
//
// A process keeps the gossip keys it has in memory. When keys are rotated, Apply the
// new list first, then use the Keyring calls of Client; a server that was cut
// off at that time needs a Restart of its child.
func Apply(ctx context.Context, child *supervise.Child, c Config) error {
	changed, err := Write(c)
	if err != nil {
		return err
	}
	spec, err := c.Spec()
	if err != nil {
		return err
	}
	before := child.Status()
	if err := child.Update(ctx, spec); err != nil {
		return err
	}
	if now := child.Status(); !changed || !now.Alive() || now.PID != before.PID {
		return nil
	}
	if before.State != supervise.Running {
		// Too early for a signal, and what it waits for may be what changed.
		return child.Restart(ctx)
	}
	return child.Signal(ctx, syscall.SIGHUP)
}
