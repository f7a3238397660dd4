package nomad

import (
	"context"
	"fmt"
	"maps"

	"github.com/hashicorp/nomad/api"
)

// Node is a Nomad client as the servers know it.
type Node struct {
	ID       string `json:"id"` // the node id
	Name     string `json:"name"`
	Address  string `json:"address"`
	Status   string `json:"status"` // ready, down, initializing or disconnected
	Eligible bool   `json:"eligible"`
	Docker   bool   `json:"docker"` // its Docker driver is healthy
	Version  string `json:"version"`
}

// NodeList lists every client. Needs node:read.
func (c *Client) NodeList(ctx context.Context) ([]Node, error) {
	var out []Node
	err := c.call(ctx, "list nodes", func(a *api.Client) error {
		list, _, err := a.Nodes().List(nil)
		for _, n := range list {
			d := n.Drivers["docker"]
			out = append(out, Node{
				ID: n.ID, Name: n.Name, Address: n.Address, Status: n.Status, Version: n.Version,
				Eligible: n.SchedulingEligibility == api.NodeSchedulingEligible,
				Docker:   d != nil && d.Detected && d.Healthy,
			})
		}
		return err
	})
	return out, err
}

// NodeReady returns nil when the client with that node id is registered,
// ready and has a healthy Docker driver. Needs node:read.
func (c *Client) NodeReady(ctx context.Context, id string) error {
	return c.call(ctx, "read node "+id, func(a *api.Client) error {
		n, _, err := a.Nodes().Info(id, nil)
		if err != nil {
			return err
		}
		if n.Status != api.NodeStatusReady {
			return fmt.Errorf("its status is %s", n.Status)
		}
		if d := n.Drivers["docker"]; d == nil || !d.Healthy {
			return fmt.Errorf("its Docker driver is not healthy: check that the Docker Engine of %s answers", n.Name)
		}
		return nil
	})
}

// SetNodeMeta sets dynamic metadata of a running client, on whatever node it
// is; a nil value unsets a key (also one of the configuration). Keys that are
// not named stay. Servers see it after up to 10 s, so NodeMeta asks the client. Needs
// node:write.
func (c *Client) SetNodeMeta(ctx context.Context, id string, meta map[string]*string) error {
	return c.call(ctx, "set metadata of node "+id, func(a *api.Client) error {
		req := &api.NodeMetaApplyRequest{NodeID: id, Meta: maps.Clone(meta)}
		_, err := a.Nodes().Meta().Apply(req, nil)
		return err
	})
}

// NodeMeta returns the metadata of a client, static and dynamic merged, as the
// client itself has them. Needs node:read.
func (c *Client) NodeMeta(ctx context.Context, id string) (map[string]string, error) {
	var out map[string]string
	err := c.call(ctx, "read metadata of node "+id, func(a *api.Client) error {
		m, err := a.Nodes().Meta().Read(id, nil)
		if err == nil {
			out = m.Meta
		}
		return err
	})
	return out, err
}

// SetEligible says whether new instances may be placed on a client. Running
// ones stay. Needs node:write.
func (c *Client) SetEligible(ctx context.Context, id string, eligible bool) error {
	return c.call(ctx, "set eligibility of node "+id, func(a *api.Client) error {
		_, err := a.Nodes().ToggleEligibility(id, eligible, nil)
		return err
	})
}

// PurgeNode makes the servers forget a client that is gone for good; its
// instances are placed elsewhere. Unknown is no error. Needs node:write.
func (c *Client) PurgeNode(ctx context.Context, id string) error {
	return c.call(ctx, "purge node "+id, func(a *api.Client) error {
		_, _, err := a.Nodes().Purge(id, nil)
		if statusCode(err) == 404 {
			return nil
		}
		return err
	})
}
