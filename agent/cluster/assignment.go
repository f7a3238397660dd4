package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Assignment is all that a node has to know to do its duty: its own record,
// whom to trust, whom to talk to, and the secrets that it needs for that and
// no others. Nodes keep the newest on disk (mode 0600) and work from it while
// every controller is gone.
type Assignment struct {
	// Index is the Raft index that it was made at; a node never goes back.
	Index     uint64  `json:"index"`
	ClusterID string  `json:"cluster_id"`
	Domain    string  `json:"domain"`
	Micro     bool    `json:"micro"`
	Founder   node.ID `json:"founder"`

	Self  node.Node   `json:"self"`
	Nodes []node.Node `json:"nodes"` // all, by name
	// Voters run the Consul and Nomad servers.
	Voters []node.ID `json:"voters"`

	// Authorities are the trusted cluster authorities, PEM, newest first;
	// Issuer is the digest of the one that signs now.
	Authorities []byte `json:"authorities"`
	Issuer      string `json:"issuer"`
	CertDays    int    `json:"cert_days"`

	GossipKeys   [][]byte `json:"gossip_keys"` // primary first
	ConsulGossip []byte   `json:"consul_gossip"`
	ConsulToken  string   `json:"consul_token"` // of this node's agent

	// Controller is set on nodes with the controller role.
	Controller *ControllerSecrets `json:"controller,omitempty"`
}

// ControllerSecrets is what only controllers get.
type ControllerSecrets struct {
	ConsulManagement string `json:"consul_management"`
	NomadGossip      []byte `json:"nomad_gossip"`
	// AuthorityKey is the issuing authority's key as it is sealed in the
	// replicated state: with the local ring a starting controller can renew
	// its own certificate before Raft is up.
	AuthorityKey []byte `json:"authority_key"`
	// RingKeys are ids of sealing keys in use; a controller that lacks one
	// fetches the ring from another.
	RingKeys []string `json:"ring_keys"`
}

// Digest identifies the content; the index does not count.
func (a Assignment) Digest() string {
	a.Index = 0
	b, err := json.Marshal(a)
	if err != nil {
		panic(fmt.Sprintf("cluster: encode assignment: %v", err)) // plain data
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// IsVoter reports whether the node itself is a Raft voter.
func (a Assignment) IsVoter() bool { return slices.Contains(a.Voters, a.Self.ID) }

// Find returns the node with the given id.
func (a Assignment) Find(id node.ID) (node.Node, bool) {
	i := slices.IndexFunc(a.Nodes, func(n node.Node) bool { return n.ID == id })
	if i < 0 {
		return node.Node{}, false
	}
	return a.Nodes[i], true
}

// Controllers returns the nodes with the controller role, voters first.
func (a Assignment) Controllers() []node.Node {
	var voters, others []node.Node
	for _, n := range a.Nodes {
		switch {
		case slices.Contains(a.Voters, n.ID):
			voters = append(voters, n)
		case n.Roles.Has(node.Controller):
			others = append(others, n)
		}
	}
	return append(voters, others...)
}

// WatchAssignment returns the node's assignment as soon as its digest is not
// have, or after wait the one it has. It reads this controller's tables,
// which may be behind: callers compare the index.
func (c *Controller) WatchAssignment(ctx context.Context, id node.ID, have string, wait time.Duration) (Assignment, error) {
	wctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		var a Assignment
		var err error
		waitErr := c.cons.State().Watch(watchUnless(wctx, func() bool { return err != nil || a.Digest() != have }),
			func(v *consensus.View) { a, err = c.assignment(v, id) })
		switch {
		case errors.Is(err, rpcerr.NotFound):
			return c.freshAssignment(ctx, id)
		case err != nil:
			return Assignment{}, err
		case a.Digest() != have:
			return a, nil
		case ctx.Err() != nil:
			return Assignment{}, ctx.Err()
		case waitErr != nil: // the wait is over
			return a, nil
		}
	}
}

// freshAssignment is for a node that this controller does not know: it may
// only be behind, and the answer "you do not belong" must be right.
func (c *Controller) freshAssignment(ctx context.Context, id node.ID) (Assignment, error) {
	v, err := c.read(ctx)
	if err != nil {
		return Assignment{}, err
	}
	return c.assignment(v, id)
}

// watchUnless returns a context that is done at once when ready holds: the
// watch then does not block.
func watchUnless(ctx context.Context, ready func() bool) context.Context {
	return readyContext{ctx, ready}
}

type readyContext struct {
	context.Context
	ready func() bool
}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (r readyContext) Done() <-chan struct{} {
	if r.ready() {
		return closedChannel
	}
	return r.Context.Done()
}

func (r readyContext) Err() error {
	if r.ready() {
		return context.Canceled
	}
	return r.Context.Err()
}

// assignment builds a node's assignment from one view.
func (c *Controller) assignment(v *consensus.View, id node.ID) (Assignment, error) {
	rec, ok := TheRecord(v)
	if !ok {
		return Assignment{}, rpcerr.New(rpcerr.Unavailable, "this controller has not caught up yet")
	}
	m, ok := consensus.Get[Member](v, nodesTable, "id", string(id))
	if !ok {
		return Assignment{}, rpcerr.New(rpcerr.NotFound, "node %s does not belong to the cluster", id)
	}
	a := Assignment{
		Index: v.Index(), ClusterID: rec.ClusterID, Domain: rec.Domain, Micro: rec.Micro, Founder: rec.Founder,
		Self: m.Node, Voters: rec.Voters,
		CertDays: intSetting(v, certificateDays),
	}
	for _, o := range Members(v) {
		a.Nodes = append(a.Nodes, o.Node)
	}
	if err := c.assignTrust(v, &a); err != nil {
		return a, err
	}
	return a, c.assignSecrets(v, &a)
}

func (c *Controller) assignTrust(v *consensus.View, a *Assignment) error {
	var bundle pki.Bundle
	for _, auth := range Authorities(v, string(pki.ClusterCA)) {
		cert, err := pki.ParseCert(auth.CertPEM)
		if err != nil {
			return fmt.Errorf("authority %s: %w", auth.Digest, err)
		}
		bundle = bundle.With(cert)
		if auth.Active {
			a.Issuer = auth.Digest
		}
	}
	a.Authorities = bundle.Encode()
	return nil
}

func (c *Controller) assignSecrets(v *consensus.View, a *Assignment) error {
	keys, err := c.secret(v, gossipKeysSecret)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(keys, &a.GossipKeys); err != nil {
		return fmt.Errorf("gossip keys: %w", err)
	}
	if a.ConsulGossip, err = c.secret(v, consulGossipSecret); err != nil {
		return err
	}
	token, err := c.secret(v, consulNodeSecret(a.Self.ID))
	if err != nil {
		return err
	}
	a.ConsulToken = string(token)
	if !a.Self.Roles.Has(node.Controller) {
		return nil
	}
	cs := &ControllerSecrets{}
	management, err := c.secret(v, consulManagementSecret)
	if err != nil {
		return err
	}
	cs.ConsulManagement = string(management)
	if cs.NomadGossip, err = c.secret(v, nomadGossipSecret); err != nil {
		return err
	}
	if s, ok := consensus.Get[Secret](v, secretsTable, "id", authoritySecret(a.Issuer)); ok {
		cs.AuthorityKey = s.Sealed
	}
	cs.RingKeys = ringKeysInUse(v)
	a.Controller = cs
	return nil
}
