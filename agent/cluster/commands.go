package cluster

import (
	"crypto/subtle"
	"slices"
	"time"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Registry returns the tables and commands of the cluster. Packages with
// state of their own add theirs to it before a node is opened.
func Registry() *consensus.Registry {
	r := consensus.NewRegistry()
	registerTables(r)
	registerCommands(r)
	registerSettings(r)
	registerKeys(r)
	return r
}

// Founding is the content of a new cluster.
type Founding struct {
	Record      Record      `json:"record"`
	Member      Member      `json:"member"`
	Authorities []Authority `json:"authorities"`
	Secrets     []Secret    `json:"secrets"`
	Admin       Admin       `json:"admin"`
}

type joinInput struct {
	TokenID    string    `json:"token_id"`
	SecretHash string    `json:"secret_hash"`
	Now        time.Time `json:"now"`
	Member     Member    `json:"member"`
	Secrets    []Secret  `json:"secrets"`
}

type rolesInput struct {
	ID    node.ID      `json:"id"`
	Roles node.RoleSet `json:"roles"`
	// Generation is the one that the change was computed from.
	Generation uint64 `json:"generation"`
	// Stopped replaces the stopped roles too, if not nil.
	Stopped *node.RoleSet `json:"stopped,omitempty"`
}

type nodeUpdate struct {
	ID             node.ID       `json:"id"`
	Zone           *string       `json:"zone,omitempty"`
	AddPlacement   []string      `json:"add_placement,omitempty"`
	DelPlacement   []string      `json:"del_placement,omitempty"`
	Stopped        *node.RoleSet `json:"stopped,omitempty"`
	Version        *string       `json:"version,omitempty"`
	Address        *string       `json:"address,omitempty"`
	LeavingAllowed bool          `json:"force,omitempty"` // with Leaving: also as last controller
	Leaving        *bool         `json:"leaving,omitempty"`
}

type removeInput struct {
	ID    node.ID `json:"id"`
	Force bool    `json:"force"`
}

type tokenSweep struct {
	Before time.Time `json:"before"` // expired, used-up and revoked ones older than this go
}

type votersInput struct {
	Voters []node.ID `json:"voters"`
}

var (
	cmdFound       = &consensus.Command[Founding, struct{}]{Type: "cluster.found", Version: 1}
	cmdJoin        = &consensus.Command[joinInput, Member]{Type: "cluster.join", Version: 1}
	cmdRoles       = &consensus.Command[rolesInput, Member]{Type: "cluster.roles", Version: 1}
	cmdNodeUpdate  = &consensus.Command[nodeUpdate, Member]{Type: "cluster.node_update", Version: 1}
	cmdNodeRemove  = &consensus.Command[removeInput, Member]{Type: "cluster.node_remove", Version: 1}
	cmdTokenPut    = &consensus.Command[Token, struct{}]{Type: "cluster.token_put", Version: 1}
	cmdTokenRevoke = &consensus.Command[string, struct{}]{Type: "cluster.token_revoke", Version: 1}
	cmdTokenSweep  = &consensus.Command[tokenSweep, int]{Type: "cluster.token_sweep", Version: 1}
	cmdVoters      = &consensus.Command[votersInput, struct{}]{Type: "cluster.voters", Version: 1}
)

func registerCommands(r *consensus.Registry) {
	register(r, cmdFound, applyFound)
	register(r, cmdJoin, applyJoin)
	register(r, cmdRoles, applyRoles)
	register(r, cmdNodeUpdate, applyNodeUpdate)
	register(r, cmdNodeRemove, applyNodeRemove)
	register(r, cmdTokenPut, applyTokenPut)
	register(r, cmdTokenRevoke, applyTokenRevoke)
	register(r, cmdTokenSweep, applyTokenSweep)
	register(r, cmdVoters, applyVoters)
}

// register binds a command that is declared as a variable to its function.
func register[T, R any](r *consensus.Registry, c *consensus.Command[T, R], apply func(*consensus.Tx, T) (R, error)) {
	consensus.Register(r, c.Type, c.Version, apply)
}

func applyFound(tx *consensus.Tx, in Founding) (struct{}, error) {
	var none struct{}
	if _, exists := TheRecord(tx); exists {
		return none, rpcerr.New(rpcerr.Conflict, "the cluster is founded already")
	}
	if err := consensus.Put(tx, clusterTable, in.Record); err != nil {
		return none, err
	}
	if err := consensus.Put(tx, nodesTable, in.Member); err != nil {
		return none, err
	}
	for _, a := range in.Authorities {
		if err := consensus.Put(tx, authoritiesTable, a); err != nil {
			return none, err
		}
	}
	if err := consensus.Put(tx, adminsTable, in.Admin); err != nil {
		return none, err
	}
	return none, putSecrets(tx, in.Secrets)
}

// applyJoin is the one place where a token is spent: two joins that race for
// its last use come here one after the other.
func applyJoin(tx *consensus.Tx, in joinInput) (Member, error) {
	m := in.Member
	if old, ok := consensus.Get[Member](tx, nodesTable, "id", string(m.ID)); ok {
		if old.KeyDigest == m.KeyDigest && old.JoinToken == in.TokenID {
			return old, nil // the same request again: its answer was lost
		}
		return Member{}, rpcerr.New(rpcerr.Conflict, "node id %s is in use", m.ID)
	}
	t, err := spendableToken(tx, in)
	if err != nil {
		return Member{}, err
	}
	if denied := m.Roles.Without(t.Roles.Normalize()); denied != 0 {
		return Member{}, rpcerr.New(rpcerr.Denied, "the join token does not allow the role %s", denied).
			WithHint("it allows %s; make another with: stackato-agent token create --roles %s", t.Roles, m.Roles.Without(node.NewRoleSet(node.Base)))
	}
	if err := checkFree(tx, m); err != nil {
		return Member{}, err
	}
	t.Uses--
	if err := consensus.Put(tx, tokensTable, t); err != nil {
		return Member{}, err
	}
	m.AllowedRoles = t.Roles
	if err := consensus.Put(tx, nodesTable, m); err != nil {
		return Member{}, err
	}
	return m, putSecrets(tx, in.Secrets)
}

// spendableToken finds the token and says what is wrong with it, if anything.
// A wrong secret is told apart from an unknown id only in the log of the node
// that asks: both are "not known".
func spendableToken(tx *consensus.Tx, in joinInput) (Token, error) {
	const again = "on a controller make a new one with: stackato-agent token create"
	t, ok := consensus.Get[Token](tx, tokensTable, "id", in.TokenID)
	switch {
	case !ok || subtle.ConstantTimeCompare([]byte(t.SecretHash), []byte(in.SecretHash)) != 1:
		return t, rpcerr.New(rpcerr.Denied, "this join token is not known").WithHint(again)
	case t.Revoked:
		return t, rpcerr.New(rpcerr.Denied, "this join token has been revoked").WithHint(again)
	case !in.Now.Before(t.ExpiresAt):
		return t, rpcerr.New(rpcerr.Denied, "this join token has expired (%s)", t.ExpiresAt.UTC().Format(time.RFC3339)).WithHint(again)
	case t.Uses <= 0:
		return t, rpcerr.New(rpcerr.Denied, "this join token is used up").WithHint(again)
	}
	return t, nil
}

func checkFree(tx *consensus.Tx, m Member) error {
	if o, taken := consensus.Get[Member](tx, nodesTable, "name", m.Name); taken {
		return rpcerr.New(rpcerr.Conflict, "the node name %q is in use (by %s)", m.Name, o.Address).
			WithHint("choose another with --name, or remove the old node first: kato node remove %s", m.Name)
	}
	for _, o := range Members(tx) {
		if o.Address == m.Address && (o.RPCPort == m.RPCPort || o.GossipPort == m.GossipPort) {
			return rpcerr.New(rpcerr.Conflict, "the address %s is in use by node %q", m.Address, o.Name).
				WithHint("choose another with --advertise, or remove the old node first: kato node remove %s", o.Name)
		}
	}
	return nil
}

func applyRoles(tx *consensus.Tx, in rolesInput) (Member, error) {
	m, ok := consensus.Get[Member](tx, nodesTable, "id", string(in.ID))
	if !ok {
		return m, rpcerr.New(rpcerr.NotFound, "no such node")
	}
	if m.Generation != in.Generation {
		return m, rpcerr.New(rpcerr.Conflict, "the roles of %s were changed meanwhile", m.Name).WithHint("look at them and try again")
	}
	if err := node.CheckRoles(in.Roles); err != nil {
		return m, rpcerr.New(rpcerr.Precondition, "%v", err)
	}
	if m.Roles.Has(node.Controller) && !in.Roles.Has(node.Controller) {
		if err := checkNotLastController(tx, m); err != nil {
			return m, err
		}
	}
	m.Roles = in.Roles
	if in.Stopped != nil {
		m.StoppedRoles = *in.Stopped
	}
	m.StoppedRoles &= m.Roles
	m.Generation++
	return m, consensus.Put(tx, nodesTable, m)
}

func checkNotLastController(tx *consensus.Tx, m Member) error {
	for _, o := range Members(tx) {
		if o.ID != m.ID && o.Roles.Has(node.Controller) && !o.Leaving {
			return nil
		}
	}
	return rpcerr.New(rpcerr.Precondition, "%s is the last controller: it cannot be removed", m.Name).
		WithHint("give another node the controller role first: kato role add controller --node NAME")
}

func applyNodeUpdate(tx *consensus.Tx, in nodeUpdate) (Member, error) {
	m, ok := consensus.Get[Member](tx, nodesTable, "id", string(in.ID))
	if !ok {
		return m, rpcerr.New(rpcerr.NotFound, "no such node")
	}
	if in.Leaving != nil {
		if *in.Leaving && m.Roles.Has(node.Controller) && !in.LeavingAllowed {
			if err := checkNotLastController(tx, m); err != nil {
				return m, err
			}
		}
		m.Leaving = *in.Leaving
	}
	if in.Zone != nil {
		m.Zone = *in.Zone
	}
	if in.Version != nil {
		m.Version = *in.Version
	}
	if in.Stopped != nil {
		m.StoppedRoles = *in.Stopped & m.Roles
	}
	if len(in.AddPlacement)+len(in.DelPlacement) > 0 {
		zones := append(slices.Clone(m.PlacementZones), in.AddPlacement...)
		slices.Sort(zones)
		m.PlacementZones = slices.DeleteFunc(slices.Compact(zones), func(z string) bool { return slices.Contains(in.DelPlacement, z) })
	}
	if in.Address != nil && *in.Address != m.Address {
		m.Address = *in.Address
		if err := checkMove(tx, m); err != nil {
			return m, err
		}
	}
	return m, consensus.Put(tx, nodesTable, m)
}

func checkMove(tx *consensus.Tx, m Member) error {
	if o, taken := consensus.Get[Member](tx, nodesTable, "address", m.Address); taken && o.ID != m.ID {
		return rpcerr.New(rpcerr.Conflict, "the address %s is in use by node %q", m.Address, o.Name)
	}
	return nil
}

func applyNodeRemove(tx *consensus.Tx, in removeInput) (Member, error) {
	m, ok := consensus.Get[Member](tx, nodesTable, "id", string(in.ID))
	if !ok {
		return m, rpcerr.New(rpcerr.NotFound, "no such node")
	}
	if m.Roles.Has(node.Controller) && !in.Force {
		if err := checkNotLastController(tx, m); err != nil {
			return m, err
		}
	}
	for table, id := range map[string]string{
		nodesTable: string(m.ID), certsTable: string(m.ID), secretsTable: consulNodeSecret(m.ID),
	} {
		if _, err := consensus.Delete(tx, table, "id", id); err != nil {
			return m, err
		}
	}
	return m, nil
}

func applyTokenPut(tx *consensus.Tx, in Token) (struct{}, error) {
	const maxTokens = 1000
	if len(Tokens(tx)) >= maxTokens {
		return struct{}{}, rpcerr.New(rpcerr.Exhausted, "there are %d join tokens already", maxTokens).WithHint("revoke some: kato token list")
	}
	return struct{}{}, consensus.Put(tx, tokensTable, in)
}

func applyTokenRevoke(tx *consensus.Tx, id string) (struct{}, error) {
	t, ok := consensus.Get[Token](tx, tokensTable, "id", id)
	if !ok {
		return struct{}{}, rpcerr.New(rpcerr.NotFound, "no join token %q", id).WithHint("see: kato token list")
	}
	t.Revoked = true
	return struct{}{}, consensus.Put(tx, tokensTable, t)
}

func applyTokenSweep(tx *consensus.Tx, in tokenSweep) (int, error) {
	swept := 0
	for _, t := range Tokens(tx) {
		if t.ExpiresAt.Before(in.Before) {
			if _, err := consensus.Delete(tx, tokensTable, "id", t.ID); err != nil {
				return 0, err
			}
			swept++
		}
	}
	return swept, nil
}

func applyVoters(tx *consensus.Tx, in votersInput) (struct{}, error) {
	rec, ok := TheRecord(tx)
	if !ok {
		return struct{}{}, rpcerr.New(rpcerr.Precondition, "the cluster is not founded")
	}
	rec.Voters = in.Voters
	return struct{}{}, consensus.Put(tx, clusterTable, rec)
}
