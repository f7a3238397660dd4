package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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
	// Primary is the node that became Primary last.
	Primary node.ID `json:"primary"`
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

// Format hides the secrets, whatever the verb.
func (a Assignment) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "assignment of %s at index %d", a.Self.Name, a.Index)
}

// LogValue hides the secrets from every log handler.
func (a Assignment) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(a)) }

// WatchAssignment returns the node's assignment as soon as its digest is not
// have, or after wait the one it has. It reads this controller's tables,
// which may be behind: callers compare the index.
func (c *Controller) WatchAssignment(ctx context.Context, id node.ID, have string, wait time.Duration) (Assignment, error) {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		a, err := c.nextAssignment(waiting, id, have)
		switch {
		case errors.Is(err, errBehind) && waiting.Err() == nil:
			continue // something has changed: perhaps it has caught up
		case errors.Is(err, rpcerr.NotFound):
			return c.freshAssignment(ctx, id)
		case err != nil:
			return Assignment{}, err
		case ctx.Err() != nil:
			return Assignment{}, ctx.Err()
		case waiting.Err() != nil || a.Digest() != have:
			return a, nil
		}
	}
}

// errBehind says that the tables are still empty: the controller has just
// started, or joined.
var errBehind = rpcerr.New(rpcerr.Unavailable, "this controller has not caught up yet")

// nextAssignment builds the assignment; if that is the one that the node has,
// or the tables are empty, it then waits until something in it has changed, or
// ctx ends.
func (c *Controller) nextAssignment(ctx context.Context, id node.ID, have string) (a Assignment, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// The wait's own error only says that it ended.
	_ = c.cons.State().Watch(ctx, func(v *consensus.View) {
		a, err = c.assignment(v, id)
		if !errors.Is(err, errBehind) && (err != nil || a.Digest() != have) {
			stop()
		}
	})
	return a, err
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

// assignment builds a node's assignment from one view.
func (c *Controller) assignment(v *consensus.View, id node.ID) (Assignment, error) {
	rec, ok := TheRecord(v)
	if !ok {
		return Assignment{}, errBehind
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
	a.Primary, _ = consensus.Leader(v)
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
