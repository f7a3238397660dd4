package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/stackato/stackato/agent/supervise/serfagent"
)

// Client calls the API of one Consul agent. It may be used concurrently.
type Client struct {
	*serfagent.Caller
	address, token string
}

// NewClient makes a client for the agent at address (host:port) that uses the
// token with the given secret. It connects to nothing. CONSUL_* variables of
// the environment have no influence.
func NewClient(address, token string) *Client {
	return &Client{serfagent.NewCaller("consul"), address, token}
}

// call runs f with an API client that ends with ctx, or after 5 s, and names
// the operation in its error.
func (c *Client) call(ctx context.Context, op string, f func(*api.Client) error) error {
	return c.callFor(ctx, serfagent.CallWithin, op, f)
}

func (c *Client) callFor(ctx context.Context, d time.Duration, op string, f func(*api.Client) error) error {
	return c.Call(ctx, d, op, func(h *http.Client) error {
		cl, err := api.NewClient(&api.Config{Address: c.address, Scheme: "http", Token: c.token, HttpClient: h})
		if err != nil {
			return err
		}
		return f(cl)
	})
}

// ErrNoLeader means that the servers have not elected a leader.
var ErrNoLeader = errors.New("consul has no leader")

// Leader returns the RPC address of the leader, or ErrNoLeader.
func (c *Client) Leader(ctx context.Context) (string, error) {
	var leader string
	err := c.call(ctx, "ask for the leader", func(a *api.Client) (err error) {
		leader, err = a.Status().Leader()
		return err
	})
	if err == nil && leader == "" {
		err = ErrNoLeader
	}
	return leader, err
}

// Ready returns nil when the agent can be used: a server knows a leader, a
// client is in the catalog under nodeName.
func (c *Client) Ready(ctx context.Context, server bool, nodeName string) error {
	if _, err := c.Leader(ctx); err != nil || server {
		return err
	}
	return c.InCatalog(ctx, nodeName)
}

// InCatalog returns nil when a node of that name is in the catalog.
func (c *Client) InCatalog(ctx context.Context, nodeName string) error {
	return c.call(ctx, "read the catalog", func(a *api.Client) error {
		n, _, err := a.Catalog().Node(nodeName, nil)
		if err == nil && n == nil {
			err = fmt.Errorf("node %s is not in it yet", nodeName)
		}
		return err
	})
}

// Member is an agent as gossip sees it.
type Member struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Address string `json:"address"`
	Server  bool   `json:"server"`
	Status  string `json:"status"` // alive, leaving, left, failed or none
}

// Members lists the agents that this one knows of.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	var out []Member
	err := c.call(ctx, "list members", func(a *api.Client) error {
		ms, err := a.Agent().Members(false)
		for _, m := range ms {
			out = append(out, Member{
				Name: m.Name, ID: m.Tags["id"], Address: m.Addr,
				Server: m.Tags["role"] == "consul", Status: memberStatus(m.Status),
			})
		}
		return err
	})
	return out, err
}

func memberStatus(n int) string {
	names := []string{"none", "alive", "leaving", "left", "failed"}
	if n < 0 || n >= len(names) {
		return names[0]
	}
	return names[n]
}

// RaftPeers lists the servers of the Raft configuration. A server that joined
// votes only after the stabilisation time. Needs operator:read.
func (c *Client) RaftPeers(ctx context.Context) ([]serfagent.Peer, error) {
	var out []serfagent.Peer
	err := c.call(ctx, "list Raft peers", func(a *api.Client) error {
		conf, err := a.Operator().RaftGetConfiguration(nil)
		if err != nil {
			return err
		}
		for _, s := range conf.Servers {
			out = append(out, serfagent.Peer{ID: s.ID, Node: s.Node, Address: s.Address, Leader: s.Leader, Voter: s.Voter})
		}
		return nil
	})
	return out, err
}

// RemovePeer takes the server with that node id out of the Raft configuration.
// One that is not in it is no error. Needs operator:write.
func (c *Client) RemovePeer(ctx context.Context, id string) error {
	peers, err := c.RaftPeers(ctx)
	if err != nil {
		return err
	}
	if !serfagent.In(peers, id) {
		return nil
	}
	return c.call(ctx, "remove Raft peer "+id, func(a *api.Client) error {
		return a.Operator().RaftRemovePeerByID(id, nil)
	})
}

// TransferLeadership makes the server with that node id the leader; an empty
// id leaves the choice to Consul. Needs operator:write.
func (c *Client) TransferLeadership(ctx context.Context, id string) error {
	return c.call(ctx, "transfer leadership", func(a *api.Client) error {
		_, err := a.Operator().RaftLeaderTransfer(id, nil)
		return err
	})
}

// Leave makes this agent take its leave and end. A server leaves the Raft
// configuration, which takes up to about 10 s after the call returned: use it
// as the function of supervise.Child.Leave. Needs agent:write.
func (c *Client) Leave(ctx context.Context) error {
	return c.callFor(ctx, serfagent.LeaveWithin, "leave", func(a *api.Client) error { return a.Agent().Leave() })
}

// ForceLeave declares a failed member gone and forgets it. It may take 10 s.
// Needs operator:write.
func (c *Client) ForceLeave(ctx context.Context, nodeName string) error {
	return c.callFor(ctx, serfagent.LeaveWithin, "force "+nodeName+" to leave", func(a *api.Client) error {
		return a.Agent().ForceLeavePrune(nodeName)
	})
}

// Reload makes the agent read its configuration and TLS files again, like
// SIGHUP. Needs agent:write.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, "reload", func(a *api.Client) error { return a.Agent().Reload() })
}
