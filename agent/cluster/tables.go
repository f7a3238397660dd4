package cluster

import (
	"encoding/json"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
)

// Table names. Rows are the types of the same subject below.
const (
	nodesTable       = "nodes"
	tokensTable      = "tokens"
	settingsTable    = "settings"
	secretsTable     = "secrets"
	authoritiesTable = "authorities"
	certsTable       = "certificates"
	clusterTable     = "cluster"
	adminsTable      = "admins"
	siteCertsTable   = "site_certificates"
)

// Member is a row of the nodes table.
type Member struct {
	node.Node
	// KeyDigest is the digest of the public key that the node joined with:
	// a repeated join request must show the same one.
	KeyDigest string `json:"key_digest"`
	// JoinToken is the id of the token that it used, "" for the first node.
	JoinToken string `json:"join_token"`
}

// Token is a join token without its secret.
type Token struct {
	ID         string       `json:"id"`
	SecretHash string       `json:"secret_hash"` // SHA-256, hex
	Roles      node.RoleSet `json:"roles"`       // that a joining node may have
	Uses       int          `json:"uses"`        // left
	CreatedAt  time.Time    `json:"created_at"`
	ExpiresAt  time.Time    `json:"expires_at"`
	Revoked    bool         `json:"revoked"`
	// EndedAt is when it was revoked or its last use was spent, zero before.
	EndedAt time.Time `json:"ended_at"`
}

// Setting is a replicated setting: a key with a JSON value.
type Setting struct {
	Key      string          `json:"key"`
	Value    json.RawMessage `json:"value"`
	Version  uint64          `json:"version"` // grows with each change, from 1
	Modified time.Time       `json:"modified"`
}

// Secret is a sealed value. Its id is the additional data of the seal.
type Secret struct {
	ID      string `json:"id"`
	Sealed  []byte `json:"sealed"`
	Version uint64 `json:"version"` // grows with each change, from 1
}

// Authority is a certificate authority that the cluster trusts. Its key is
// the secret [authoritySecret].
type Authority struct {
	Digest    string    `json:"digest"`
	Kind      string    `json:"kind"` // of pki.Kind
	CertPEM   []byte    `json:"cert_pem"`
	CreatedAt time.Time `json:"created_at"`
	// Active is set on the one authority of its kind that signs.
	Active bool `json:"active"`
}

// Certificate records the newest certificate issued to a node.
type Certificate struct {
	NodeID   node.ID   `json:"node_id"`
	Serial   string    `json:"serial"`
	Issuer   string    `json:"issuer"` // digest of the authority
	NotAfter time.Time `json:"not_after"`
	Server   bool      `json:"server"` // carries the Consul and Nomad server names
}

// Record is the single row about the cluster as a whole.
type Record struct {
	ID        string    `json:"id"` // always "cluster"
	ClusterID string    `json:"cluster_id"`
	CreatedAt time.Time `json:"created_at"`
	Founder   node.ID   `json:"founder"`
	Domain    string    `json:"domain"`
	Micro     bool      `json:"micro"`
	// Voters are the Raft voters as the Primary last wrote them down;
	// Consul and Nomad servers run exactly there.
	Voters []node.ID `json:"voters"`
}

// Admin is the first administrator's credential.
type Admin struct {
	Username string `json:"username"`
	Hash     string `json:"hash"` // argon2id, see hashPassword
}

func registerTables(r *consensus.Registry) {
	str := func(name, field string) *memdb.IndexSchema {
		return &memdb.IndexSchema{Name: name, Unique: true, Indexer: &memdb.StringFieldIndex{Field: field}}
	}
	table := func(name string, indexes ...*memdb.IndexSchema) *memdb.TableSchema {
		t := &memdb.TableSchema{Name: name, Indexes: map[string]*memdb.IndexSchema{}}
		for _, i := range indexes {
			t.Indexes[i.Name] = i
		}
		return t
	}
	// Not unique: nodes of one machine differ by port.
	byAddress := &memdb.IndexSchema{Name: "address", Indexer: &memdb.StringFieldIndex{Field: "Address"}}
	consensus.AddTable[Member](r, table(nodesTable, str("id", "ID"), str("name", "Name"), byAddress))
	consensus.AddTable[Token](r, table(tokensTable, str("id", "ID")))
	consensus.AddTable[Setting](r, table(settingsTable, str("id", "Key")))
	consensus.AddTable[Secret](r, table(secretsTable, str("id", "ID")))
	consensus.AddTable[Authority](r, table(authoritiesTable, str("id", "Digest")))
	consensus.AddTable[Certificate](r, table(certsTable, str("id", "NodeID")))
	consensus.AddTable[Record](r, table(clusterTable, str("id", "ID")))
	consensus.AddTable[SiteCertificate](r, table(siteCertsTable, str("id", "Name")))
	consensus.AddTable[Admin](r, table(adminsTable, str("id", "Username")))
}

// Members returns the nodes, by name.
func Members(r consensus.Reader) []Member { return consensus.List[Member](r, nodesTable, "name") }

// FindMember returns the node with the given id, name or address.
func FindMember(r consensus.Reader, key string) (Member, bool) {
	for _, index := range []string{"id", "name", "address"} {
		if m, ok := consensus.Get[Member](r, nodesTable, index, key); ok {
			return m, true
		}
	}
	return Member{}, false
}

// TheRecord returns the row about the cluster; ok is false before init.
func TheRecord(r consensus.Reader) (Record, bool) {
	return consensus.Get[Record](r, clusterTable, "id", "cluster")
}

// Tokens returns the join tokens.
func Tokens(r consensus.Reader) []Token { return consensus.List[Token](r, tokensTable, "id") }

// Authorities returns the trusted authorities of a kind.
func Authorities(r consensus.Reader, kind string) []Authority {
	var out []Authority
	for _, a := range consensus.List[Authority](r, authoritiesTable, "id") {
		if a.Kind == kind {
			out = append(out, a)
		}
	}
	return out
}

// Certificates returns the newest certificate of each node.
func Certificates(r consensus.Reader) []Certificate {
	return consensus.List[Certificate](r, certsTable, "id")
}
