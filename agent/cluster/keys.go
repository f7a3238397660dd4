package cluster

import (
	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Names of secrets.
const (
	gossipKeysSecret       = "gossip/keys"       // JSON list of 32-byte keys, primary first
	consulGossipSecret     = "consul/gossip"     // 32 bytes
	nomadGossipSecret      = "nomad/gossip"      // 32 bytes
	consulManagementSecret = "consul/management" // UUID text
	nomadManagementSecret  = "nomad/management"  // UUID text
)

func authoritySecret(digest string) string { return "authority/" + digest }
func consulNodeSecret(id node.ID) string   { return "consul/node/" + string(id) }

type secretsInput struct {
	Secrets []Secret `json:"secrets"`
	// Versions, by id, that the stored ones must have now (0: absent).
	Versions map[string]uint64 `json:"versions"`
}

// authorityInput changes the trusted authorities; one of the three is set.
type authorityInput struct {
	Trust    *Authority `json:"trust,omitempty"` // trusted, not signing yet
	Secret   *Secret    `json:"secret,omitempty"`
	Activate string     `json:"activate,omitempty"` // digest of the one that signs from now on
	Drop     string     `json:"drop,omitempty"`     // digest of one to forget
}

var (
	cmdSecrets   = &consensus.Command[secretsInput, struct{}]{Type: "cluster.secrets", Version: 1}
	cmdAuthority = &consensus.Command[authorityInput, struct{}]{Type: "cluster.authority", Version: 1}
	cmdIssued    = &consensus.Command[Certificate, struct{}]{Type: "cluster.issued", Version: 1}
	cmdAdmin     = &consensus.Command[Admin, struct{}]{Type: "cluster.admin", Version: 1}
)

func registerKeys(r *consensus.Registry) {
	register(r, cmdSecrets, applySecrets)
	register(r, cmdAuthority, applyAuthority)
	register(r, cmdIssued, applyIssued)
	register(r, cmdAdmin, func(tx *consensus.Tx, in Admin) (struct{}, error) {
		return struct{}{}, consensus.Put(tx, adminsTable, in)
	})
}

// putSecrets stores sealed values; versions count on from what is there.
func putSecrets(tx *consensus.Tx, secrets []Secret) error {
	for _, s := range secrets {
		old, _ := consensus.Get[Secret](tx, secretsTable, "id", s.ID)
		s.Version = old.Version + 1
		if err := consensus.Put(tx, secretsTable, s); err != nil {
			return err
		}
	}
	return nil
}

func applySecrets(tx *consensus.Tx, in secretsInput) (struct{}, error) {
	for _, s := range in.Secrets {
		old, _ := consensus.Get[Secret](tx, secretsTable, "id", s.ID)
		if want, checked := in.Versions[s.ID]; checked && old.Version != want {
			return struct{}{}, rpcerr.New(rpcerr.Conflict, "the secret %s was changed meanwhile", s.ID)
		}
	}
	return struct{}{}, putSecrets(tx, in.Secrets)
}

func applyAuthority(tx *consensus.Tx, in authorityInput) (struct{}, error) {
	switch {
	case in.Drop != "":
		return struct{}{}, dropAuthority(tx, in.Drop)
	case in.Activate != "":
		return struct{}{}, activateAuthority(tx, in.Activate)
	case in.Trust == nil || in.Secret == nil:
		return struct{}{}, rpcerr.New(rpcerr.Invalid, "an authority needs its key")
	}
	trust := *in.Trust
	trust.Active = false
	if err := consensus.Put(tx, authoritiesTable, trust); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, putSecrets(tx, []Secret{*in.Secret})
}

func dropAuthority(tx *consensus.Tx, digest string) error {
	a, ok := consensus.Get[Authority](tx, authoritiesTable, "id", digest)
	if !ok {
		return nil // done before
	}
	if a.Active {
		return rpcerr.New(rpcerr.Precondition, "the active authority cannot be dropped")
	}
	if _, err := consensus.Delete(tx, authoritiesTable, "id", digest); err != nil {
		return err
	}
	_, err := consensus.Delete(tx, secretsTable, "id", authoritySecret(digest))
	return err
}

func activateAuthority(tx *consensus.Tx, digest string) error {
	next, ok := consensus.Get[Authority](tx, authoritiesTable, "id", digest)
	if !ok {
		return rpcerr.New(rpcerr.NotFound, "no authority %s", digest)
	}
	for _, a := range Authorities(tx, next.Kind) {
		a.Active = a.Digest == digest
		if err := consensus.Put(tx, authoritiesTable, a); err != nil {
			return err
		}
	}
	return nil
}

func applyIssued(tx *consensus.Tx, in Certificate) (struct{}, error) {
	if _, ok := consensus.Get[Member](tx, nodesTable, "id", string(in.NodeID)); !ok {
		return struct{}{}, errNoMember(in.NodeID)
	}
	if a, ok := consensus.Get[Authority](tx, authoritiesTable, "id", in.Issuer); !ok || !a.Active {
		return struct{}{}, rpcerr.New(rpcerr.Conflict, "the authority was replaced while it signed").WithHint("ask again")
	}
	return struct{}{}, consensus.Put(tx, certsTable, in)
}
