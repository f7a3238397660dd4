package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// maxClockSkew is how far a joining node's clock may be off.
const maxClockSkew = 30 * time.Second

// JoinRequest asks to become a member. It may be repeated: the same key and
// token give the same answer.
type JoinRequest struct {
	TokenID string    `json:"token_id"`
	Secret  string    `json:"secret"` // of the token: send it to the right cluster only
	Node    node.Node `json:"node"`
	CSR     []byte    `json:"csr"`
	Now     time.Time `json:"now"` // the joining node's clock
	// Capabilities are the commands that the build knows.
	Capabilities consensus.Capabilities `json:"capabilities"`
}

// JoinResponse makes a node a member.
type JoinResponse struct {
	Certificate []byte     `json:"certificate"` // PEM
	Assignment  Assignment `json:"assignment"`
	// Ring is the sealing key ring, for controllers only.
	Ring []byte `json:"ring,omitempty"`
}

// Join admits a node. The token is spent through Raft before anything is
// issued.
func (c *Controller) Join(ctx context.Context, r JoinRequest) (JoinResponse, error) {
	if err := c.checkJoin(r); err != nil {
		return JoinResponse{}, err
	}
	v, err := c.read(ctx)
	if err != nil {
		return JoinResponse{}, err
	}
	if _, err := knownToken(v, r.TokenID, hashSecret(r.Secret)); err != nil {
		return JoinResponse{}, err // strangers do not get to write into the log
	}
	m, err := c.admit(ctx, r)
	if err != nil {
		return JoinResponse{}, err
	}
	if m.Roles.Has(node.Controller) {
		if err := c.cons.Report(ctx, m.ID, r.Capabilities); err != nil {
			return JoinResponse{}, err
		}
	}
	cert, err := c.issue(ctx, m.ID, r.CSR)
	if err != nil {
		return JoinResponse{}, err
	}
	a, err := c.assignment(c.cons.State().Read(), m.ID)
	if err != nil {
		return JoinResponse{}, err
	}
	if c.cfg.Admitted != nil {
		c.cfg.Admitted(ctx, m.Node)
	}
	out := JoinResponse{Certificate: cert, Assignment: a}
	if m.Roles.Has(node.Controller) {
		out.Ring = c.ring.Marshal()
	}
	c.log.Info("a node has joined", "node", m.Name, "id", m.ID, "address", m.Address, "roles", m.Roles)
	return out, nil
}

// checkJoin refuses what no state of the cluster could allow.
func (c *Controller) checkJoin(r JoinRequest) error {
	now := c.cfg.Now()
	if skew := r.Now.Sub(now); skew.Abs() > maxClockSkew {
		return rpcerr.New(rpcerr.Precondition, "the joining node's clock is off by %s (at most %s is accepted)", skew.Round(time.Second), maxClockSkew).
			WithHint("set the clock (chrony or systemd-timesyncd) and join again")
	}
	if err := CheckVersion(c.cfg.Version, r.Node.Version); err != nil {
		return err
	}
	return checkJoiningNode(r.Node)
}

func checkJoiningNode(n node.Node) error {
	if _, err := node.ParseID(string(n.ID)); err != nil {
		return rpcerr.New(rpcerr.Invalid, "%v", err)
	}
	if err := node.CheckName(n.Name); err != nil {
		return rpcerr.New(rpcerr.Invalid, "%v", err)
	}
	if _, err := node.CheckAddress(n.Address); err != nil {
		return rpcerr.New(rpcerr.Invalid, "%v", err)
	}
	if err := node.CheckZone(n.Zone); err != nil {
		return rpcerr.New(rpcerr.Invalid, "%v", err)
	}
	for _, port := range []int{n.RPCPort, n.GossipPort} {
		if port < 1 || port > 65535 {
			return rpcerr.New(rpcerr.Invalid, "port %d is not from 1 to 65535", port)
		}
	}
	if err := node.CheckRoles(n.Roles); err != nil {
		return rpcerr.New(rpcerr.Precondition, "%v", err)
	}
	return nil
}

// admit spends the token and makes the row.
func (c *Controller) admit(ctx context.Context, r JoinRequest) (Member, error) {
	digest, err := keyDigest(r.CSR)
	if err != nil {
		return Member{}, rpcerr.New(rpcerr.Invalid, "certificate request: %v", err)
	}
	addr, err := node.CheckAddress(r.Node.Address)
	if err != nil {
		return Member{}, rpcerr.New(rpcerr.Invalid, "%v", err)
	}
	n := r.Node
	n.Address = addr.String() // one address has one form: rows are compared by it
	n.JoinedAt, n.Generation, n.Leaving, n.AllowedRoles = c.cfg.Now(), 1, false, 0
	n.StoppedRoles &= n.Roles
	n.PlacementZones = []string{}
	return cmdJoin.Propose(ctx, c.cons, joinInput{
		TokenID: r.TokenID, SecretHash: hashSecret(r.Secret), Now: c.cfg.Now(),
		Member:  Member{Node: n, KeyDigest: digest, JoinToken: r.TokenID},
		Secrets: []Secret{c.sealed(consulNodeSecret(r.Node.ID), []byte(uuid.NewString()))},
	})
}

func (c *Controller) sealed(id string, plain []byte) Secret {
	return Secret{ID: id, Sealed: c.ring.Seal(plain, []byte(id))}
}

// keyDigest identifies the key of a certificate request.
func keyDigest(csr []byte) (string, error) {
	r, err := pki.ParseCSR(csr)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(r.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:]), nil
}

// CheckVersion refuses a node whose release cannot work in a cluster that has
// ours: another major version, or more than one minor version apart.
func CheckVersion(ours, theirs string) error {
	om, on, oerr := majorMinor(ours)
	tm, tn, terr := majorMinor(theirs)
	if oerr == nil && terr == nil && len(theirs) <= maxVersion && om == tm && max(on, tn)-min(on, tn) <= 1 {
		return nil
	}
	return rpcerr.New(rpcerr.UnsupportedVersion, "version %.40q does not fit the cluster's %s", theirs, ours).
		WithHint("install a release of the same major and the same or a neighbouring minor version")
}

// maxVersion bounds the text of a version, in bytes.
const maxVersion = 64

func majorMinor(v string) (major, minor int, err error) {
	parts := strings.SplitN(v, ".", 3)
	if len(parts) < 3 {
		return 0, 0, fmt.Errorf("version %q is not MAJOR.MINOR.PATCH", v)
	}
	var out [2]int
	for i := range out {
		n, err := strconv.ParseUint(parts[i], 10, 31)
		if err != nil {
			return 0, 0, err
		}
		out[i] = int(n)
	}
	return out[0], out[1], nil
}

// RingFor hands the sealing key ring to a controller.
func (c *Controller) RingFor(by Caller) ([]byte, error) {
	if !by.Controller {
		return nil, rpcerr.New(rpcerr.Denied, "only controllers get the sealing keys")
	}
	return c.ring.Marshal(), nil
}

// foundingSecrets makes and seals the secrets of a new cluster.
func foundingSecrets(seal func(id string, plain []byte) Secret, gossipKey, consulGossip, nomadGossip []byte,
	self node.ID, authorities map[string][]byte,
) ([]Secret, error) {
	keys, err := json.Marshal([][]byte{gossipKey})
	if err != nil {
		return nil, err
	}
	plain := map[string][]byte{
		gossipKeysSecret:       keys,
		consulGossipSecret:     consulGossip,
		nomadGossipSecret:      nomadGossip,
		consulManagementSecret: []byte(uuid.NewString()),
		nomadManagementSecret:  []byte(uuid.NewString()),
		consulNodeSecret(self): []byte(uuid.NewString()),
	}
	for digest, key := range authorities {
		plain[authoritySecret(digest)] = key
	}
	var out []Secret
	for id, value := range plain {
		out = append(out, seal(id, value))
	}
	return out, nil
}
