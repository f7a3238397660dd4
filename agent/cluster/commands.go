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
	registerSiteCerts(r)
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
	LeavingAllowed bool          `json:"force,omitempty"` // with Leaving: also as last controller
	Leaving        *bool         `json:"leaving,omitempty"`
}

type removeInput struct {
	ID    node.ID `json:"id"`
	Force bool    `json:"force"`
}

type tokenRevoke struct {
	ID  string    `json:"id"`
	Now time.Time `json:"now"`
}

type tokenSweep struct {
	Before time.Time `json:"before"` // those that expired, were used up or revoked before this go
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
	cmdTokenRevoke = &consensus.Command[tokenRevoke, struct{}]{Type: "cluster.token_revoke", Version: 1}
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
	if rec, exists := TheRecord(tx); exists {
		if rec.ClusterID == in.Record.ClusterID {
			return none, nil // the same request again: its answer was lost
		}
		return none, rpcerr.New(rpcerr.Conflict, "the cluster is founded already, as %s", rec.ClusterID)
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
	t, err := knownToken(tx, in.TokenID, in.SecretHash)
	if err != nil {
		return Member{}, err
	}
	if old, ok := consensus.Get[Member](tx, nodesTable, "id", string(m.ID)); ok {
		if old.KeyDigest == m.KeyDigest && old.JoinToken == in.TokenID && !t.Revoked {
			return old, nil // the same request again: its answer was lost
		}
		return Member{}, rpcerr.New(rpcerr.Conflict, "node id %s is in use", m.ID)
	}
	if err := t.spendable(in.Now); err != nil {
		return Member{}, err
	}
	if denied := m.Roles.Without(t.Roles); denied != 0 {
		return Member{}, rpcerr.New(rpcerr.Denied, "the join token does not allow the role %s", denied).
			WithHint("it allows %s; make another with: stackato-agent token create --roles %s", t.Roles, m.Roles.Without(node.NewRoleSet(node.Base)))
	}
	if err := checkFree(tx, m); err != nil {
		return Member{}, err
	}
	if t.Uses--; t.Uses == 0 {
		t.EndedAt = in.Now
	}
	if err := consensus.Put(tx, tokensTable, t); err != nil {
		return Member{}, err
	}
	m.AllowedRoles = t.Roles
	if err := consensus.Put(tx, nodesTable, m); err != nil {
		return Member{}, err
	}
	return m, putSecrets(tx, in.Secrets)
}

const newTokenHint = "on a controller make a new one with: stackato-agent token create"

// knownToken finds the token. A wrong secret and an unknown id look the same
// to whoever asks.
func knownToken(r consensus.Reader, id, secretHash string) (Token, error) {
	t, ok := consensus.Get[Token](r, tokensTable, "id", id)
	if !ok || subtle.ConstantTimeCompare([]byte(t.SecretHash), []byte(secretHash)) != 1 {
		return Token{}, rpcerr.New(rpcerr.Denied, "this join token is not known").WithHint(newTokenHint)
	}
	return t, nil
}

// spendable says what is wrong with the token at the time now, if anything.
func (t Token) spendable(now time.Time) error {
	switch {
	case t.Revoked:
		return rpcerr.New(rpcerr.Denied, "this join token has been revoked").WithHint(newTokenHint)
	case !now.Before(t.ExpiresAt):
		return rpcerr.New(rpcerr.Denied, "this join token has expired (%s)", t.ExpiresAt.UTC().Format(time.RFC3339)).WithHint(newTokenHint)
	case t.Uses <= 0:
		return rpcerr.New(rpcerr.Denied, "this join token is used up").WithHint(newTokenHint)
	}
	return nil
}

func checkFree(tx *consensus.Tx, m Member) error {
	if o, taken := consensus.Get[Member](tx, nodesTable, "name", m.Name); taken {
		return rpcerr.New(rpcerr.Conflict, "the node name %q is in use (by %s)", m.Name, o.Address).
			WithHint("choose another with --name, or remove the old node first: kato node remove %s", m.Name)
	}
	return checkAddressFree(tx, m)
}

// checkAddressFree lets nodes share an address only with ports of their own.
func checkAddressFree(tx *consensus.Tx, m Member) error {
	for _, o := range consensus.List[Member](tx, nodesTable, "address", m.Address) {
		if o.ID != m.ID && (o.RPCPort == m.RPCPort || o.GossipPort == m.GossipPort) {
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

func checkNotLastController(tx consensus.Reader, m Member) error {
	for _, o := range Members(tx) {
		if o.ID != m.ID && o.Roles.Has(node.Controller) && !o.Leaving {
			return nil
		}
	}
	return rpcerr.New(rpcerr.Precondition, "%s is the last controller: it cannot be removed", m.Name).
		WithHint("give another node the controller role first: kato role add controller --node NAME")
}

// maxPlacementZones bounds the placement zones of one node.
const maxPlacementZones = 64

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
		if len(m.PlacementZones) > maxPlacementZones {
			return m, rpcerr.New(rpcerr.Exhausted, "a node has at most %d placement zones", maxPlacementZones)
		}
	}
	return m, consensus.Put(tx, nodesTable, m)
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
	for _, row := range [...]struct{ table, id string }{
		{nodesTable, string(m.ID)}, {certsTable, string(m.ID)}, {secretsTable, consulNodeSecret(m.ID)},
	} {
		if _, err := consensus.Delete(tx, row.table, "id", row.id); err != nil {
			return m, err
		}
	}
	return m, nil
}

// maxTokens bounds the tokens that are kept, dead ones included.
const maxTokens = 1000

func applyTokenPut(tx *consensus.Tx, in Token) (struct{}, error) {
	if _, exists := consensus.Get[Token](tx, tokensTable, "id", in.ID); exists {
		return struct{}{}, rpcerr.New(rpcerr.Conflict, "a join token %s exists", in.ID).WithHint("try again")
	}
	if len(Tokens(tx)) >= maxTokens {
		return struct{}{}, rpcerr.New(rpcerr.Exhausted, "there are %d join tokens already", maxTokens).
			WithHint("revoke those that are not needed (kato token list); they are forgotten after a day")
	}
	return struct{}{}, consensus.Put(tx, tokensTable, in)
}

func applyTokenRevoke(tx *consensus.Tx, in tokenRevoke) (struct{}, error) {
	t, ok := consensus.Get[Token](tx, tokensTable, "id", in.ID)
	if !ok {
		return struct{}{}, rpcerr.New(rpcerr.NotFound, "no join token %.40q", in.ID).WithHint("see: kato token list")
	}
	t.Revoked = true
	if t.EndedAt.IsZero() {
		t.EndedAt = in.Now
	}
	return struct{}{}, consensus.Put(tx, tokensTable, t)
}

func applyTokenSweep(tx *consensus.Tx, in tokenSweep) (int, error) {
	swept := 0
	for _, t := range Tokens(tx) {
		if !t.deadBefore(in.Before) {
			continue
		}
		if _, err := consensus.Delete(tx, tokensTable, "id", t.ID); err != nil {
			return 0, err
		}
		swept++
	}
	return swept, nil
}

// deadBefore reports whether the token could not be spent any more at when.
func (t Token) deadBefore(when time.Time) bool {
	return t.ExpiresAt.Before(when) || !t.EndedAt.IsZero() && t.EndedAt.Before(when)
}

func applyVoters(tx *consensus.Tx, in votersInput) (struct{}, error) {
	rec, ok := TheRecord(tx)
	if !ok {
		return struct{}{}, rpcerr.New(rpcerr.Precondition, "the cluster is not founded")
	}
	rec.Voters = in.Voters
	return struct{}{}, consensus.Put(tx, clusterTable, rec)
}
