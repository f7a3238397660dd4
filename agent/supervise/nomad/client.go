package nomad

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/stackato/stackato/agent/supervise/serfagent"
)

// Client calls the API of one Nomad agent. It may be used concurrently.
type Client struct {
	*serfagent.Caller
	address, secret string
}

// NewClient makes a client for the agent at address (host:port) that uses the
// ACL token with the given secret ("" for none). It connects to nothing.
func NewClient(address, secret string) *Client {
	return &Client{serfagent.NewCaller("nomad"), address, secret}
}

// call runs f with an API client that ends with ctx, or after 5 s, and names
// the operation in its error.
func (c *Client) call(ctx context.Context, op string, f func(*api.Client) error) error {
	return c.callFor(ctx, serfagent.CallWithin, op, f)
}

func (c *Client) callFor(ctx context.Context, d time.Duration, op string, f func(*api.Client) error) error {
	return c.Call(ctx, d, op, func(h *http.Client) error {
		cl, err := api.NewClient(&api.Config{Address: "http://" + c.address, SecretID: c.secret, HttpClient: h})
		if err != nil {
			return err
		}
		return f(cl)
	})
}

// ErrNoLeader means that the servers have not elected a leader.
var ErrNoLeader = errors.New("nomad has no leader")

// Leader returns the RPC address of the leader, or an error when there is none.
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
// client knows servers. It needs no token. Whether a client is registered is
// told by NodeReady.
func (c *Client) Ready(ctx context.Context) error {
	return c.call(ctx, "ask for its health", func(a *api.Client) error {
		h, err := a.Agent().Health()
		switch {
		case err != nil:
			return err
		case h.Server != nil && !h.Server.Ok:
			return errors.New("server: " + h.Server.Message)
		case h.Client != nil && !h.Client.Ok:
			return errors.New("client: " + h.Client.Message)
		}
		_, err = a.Status().Leader()
		return err
	})
}

// Member is a server as gossip sees it.
type Member struct {
	Name    string `json:"name"` // node name and region: "alpha.global"
	Address string `json:"address"`
	Status  string `json:"status"` // alive, leaving, left or failed
}

// ServerMembers lists the servers. Needs node:read.
func (c *Client) ServerMembers(ctx context.Context) ([]Member, error) {
	var out []Member
	err := c.call(ctx, "list servers", func(a *api.Client) error {
		ms, err := a.Agent().Members()
		if err != nil {
			return err
		}
		for _, m := range ms.Members {
			out = append(out, Member{Name: m.Name, Address: m.Addr, Status: m.Status})
		}
		return nil
	})
	return out, err
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

// TransferLeadership makes the server with that node id the leader. Needs
// operator:write.
func (c *Client) TransferLeadership(ctx context.Context, id string) error {
	return c.call(ctx, "transfer leadership", func(a *api.Client) error {
		return a.Operator().RaftTransferLeadershipByID(id, nil)
	})
}

// ForceLeave declares a failed server gone and forgets it; nodeName is without
// region. It may take 10 s. Needs agent:write.
func (c *Client) ForceLeave(ctx context.Context, nodeName, region string) error {
	if region == "" {
		region = "global"
	}
	return c.callFor(ctx, serfagent.LeaveWithin, "force "+nodeName+" to leave", func(a *api.Client) error {
		return a.Agent().ForceLeaveWithOptions(nodeName+"."+region, api.ForceLeaveOpts{Prune: true})
	})
}
