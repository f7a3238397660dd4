package nomad

import (
	"context"
	"fmt"

	"github.com/hashicorp/nomad/api"
)

// Keyring is which gossip keys the servers have: for each key the number of
// servers.
type Keyring struct {
	Members int
	Keys    map[string]int
}

// KeyringList asks every server for its keys. Needs agent:read and an agent
// that is a server, as do the next three (with agent:write).
func (c *Client) KeyringList(ctx context.Context) (Keyring, error) {
	return c.keyring(ctx, "list gossip keys", func(a *api.Agent) (*api.KeyringResponse, error) { return a.ListKeys() })
}

// KeyringInstall gives a key to every server, to decrypt with. Rotation is
// install, use, remove, each until KeyringList shows it everywhere.
func (c *Client) KeyringInstall(ctx context.Context, key string) error {
	_, err := c.keyring(ctx, "install gossip key", func(a *api.Agent) (*api.KeyringResponse, error) { return a.InstallKey(key) })
	return err
}

// KeyringUse makes an installed key the one that encrypts.
func (c *Client) KeyringUse(ctx context.Context, key string) error {
	_, err := c.keyring(ctx, "use gossip key", func(a *api.Agent) (*api.KeyringResponse, error) { return a.UseKey(key) })
	return err
}

// KeyringRemove takes a key that does not encrypt from every server.
func (c *Client) KeyringRemove(ctx context.Context, key string) error {
	_, err := c.keyring(ctx, "remove gossip key", func(a *api.Agent) (*api.KeyringResponse, error) { return a.RemoveKey(key) })
	return err
}

func (c *Client) keyring(
	ctx context.Context, op string, f func(*api.Agent) (*api.KeyringResponse, error),
) (Keyring, error) {
	var k Keyring
	err := c.call(ctx, op, func(a *api.Client) error {
		r, err := f(a.Agent())
		if err != nil {
			return err
		}
		for server, msg := range r.Messages {
			if msg != "" {
				return fmt.Errorf("server %s: %s", server, msg)
			}
		}
		k = Keyring{Members: r.NumNodes, Keys: r.Keys}
		return nil
	})
	return k, err
}
