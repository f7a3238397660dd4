package nomad

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/nomad/api"
)

// How long a call may take when its context has no earlier deadline. Forcing a
// server out is answered when gossip has spread it.
const (
	callWithin  = 5 * time.Second
	leaveWithin = 20 * time.Second
)

// Client calls the API of one Nomad agent. It may be used concurrently.
type Client struct {
	address, secret string
	transport       *http.Transport
}

// NewClient makes a client for the agent at address (host:port) that uses the
// ACL token with the given secret ("" for none). It connects to nothing.
func NewClient(address, secret string) *Client {
	dialer := net.Dialer{Timeout: 2 * time.Second}
	return &Client{address: address, secret: secret, transport: &http.Transport{
		DialContext: dialer.DialContext, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second,
	}}
}

// Close closes idle connections. The client can still be used.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// contextTransport gives every request a context: some methods of the API
// library take none.
type contextTransport struct {
	ctx  context.Context
	next http.RoundTripper
}

func (t contextTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.next.RoundTrip(r.WithContext(t.ctx))
}

// call runs f with an API client that ends with ctx, or after 5 s, and names
// the operation in its error.
func (c *Client) call(ctx context.Context, op string, f func(*api.Client) error) error {
	return c.callFor(ctx, callWithin, op, f)
}

func (c *Client) callFor(ctx context.Context, d time.Duration, op string, f func(*api.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	cl, err := api.NewClient(&api.Config{
		Address: "http://" + c.address, SecretID: c.secret,
		HttpClient: &http.Client{Transport: contextTransport{ctx, c.transport}},
	})
	if err == nil {
		err = f(cl)
	}
	if err != nil {
		return fmt.Errorf("nomad: %s: %w", op, err)
	}
	return nil
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

// Peer is a server in Nomad's Raft configuration.
type Peer struct {
	ID      string `json:"id"`      // the node id
	Node    string `json:"node"`    // "alpha.global"
	Address string `json:"address"` // host:port
	Leader  bool   `json:"leader"`
	Voter   bool   `json:"voter"`
}

// RaftPeers lists the servers of the Raft configuration. A server that joined
// votes only after the stabilisation time. Needs operator:read.
func (c *Client) RaftPeers(ctx context.Context) ([]Peer, error) {
	var out []Peer
	err := c.call(ctx, "list Raft peers", func(a *api.Client) error {
		conf, err := a.Operator().RaftGetConfiguration(nil)
		if err != nil {
			return err
		}
		for _, s := range conf.Servers {
			out = append(out, Peer{ID: s.ID, Node: s.Node, Address: s.Address, Leader: s.Leader, Voter: s.Voter})
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
	for _, p := range peers {
		if p.ID != id {
			continue
		}
		return c.call(ctx, "remove Raft peer "+id, func(a *api.Client) error {
			return a.Operator().RaftRemovePeerByID(id, nil)
		})
	}
	return nil
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
	return c.callFor(ctx, leaveWithin, "force "+nodeName+" to leave", func(a *api.Client) error {
		return a.Agent().ForceLeaveWithOptions(nodeName+"."+region, api.ForceLeaveOpts{Prune: true})
	})
}
