package consul

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// Keyring is which gossip keys the members have: for each key the number of
// members.
type Keyring struct {
	Members int
	Keys    map[string]int // installed
	Primary map[string]int // encrypting
}

// KeyringList asks every member for its keys. Needs keyring:read.
func (c *Client) KeyringList(ctx context.Context) (Keyring, error) {
	k := Keyring{}
	err := c.call(ctx, "list gossip keys", func(a *api.Client) error {
		rings, err := a.Operator().KeyringList(nil)
		if err != nil {
			return err
		}
		for _, r := range rings {
			if r.WAN {
				continue
			}
			k = Keyring{Members: r.NumNodes, Keys: r.Keys, Primary: r.PrimaryKeys}
			for node, msg := range r.Messages {
				return fmt.Errorf("member %s: %s", node, msg)
			}
		}
		return nil
	})
	return k, err
}

// KeyringInstall gives a key to every member, to decrypt with. Rotation is
// install, use, remove, each until KeyringList shows it everywhere. Needs
// keyring:write, as do the next two.
func (c *Client) KeyringInstall(ctx context.Context, key string) error {
	return c.call(ctx, "install gossip key", func(a *api.Client) error { return a.Operator().KeyringInstall(key, nil) })
}

// KeyringUse makes an installed key the one that encrypts.
func (c *Client) KeyringUse(ctx context.Context, key string) error {
	return c.call(ctx, "use gossip key", func(a *api.Client) error { return a.Operator().KeyringUse(key, nil) })
}

// KeyringRemove takes a key that does not encrypt from every member.
func (c *Client) KeyringRemove(ctx context.Context, key string) error {
	return c.call(ctx, "remove gossip key", func(a *api.Client) error { return a.Operator().KeyringRemove(key, nil) })
}
