package cluster

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/argon2"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/cluster/seal"
	"github.com/stackato/stackato/agent/node"
)

// NewCluster is a cluster that was just made: what the first node keeps, and
// what it writes into Raft when it first leads.
type NewCluster struct {
	Founding    Founding
	Ring        *seal.Ring
	Certificate []byte // PEM, of the first node
	Key         []byte // PEM, of the first node
	Authorities []byte // PEM bundle
	Password    string // of the first administrator, shown once
}

// Found makes a cluster whose first node is n: the authorities, the keys and
// tokens of everything that runs, the first administrator. It writes nothing.
func Found(n node.Node, domain string, micro bool, now time.Time) (*NewCluster, error) {
	id := uuid.NewString()
	ring, err := seal.NewRing(rand.Reader, now)
	if err != nil {
		return nil, err
	}
	nodeCA, err := pki.NewCA(id, pki.ClusterCA, now)
	if err != nil {
		return nil, err
	}
	routerCA, err := pki.NewCA(id, pki.RouterCA, now)
	if err != nil {
		return nil, err
	}
	key, err := pki.NewKey()
	if err != nil {
		return nil, err
	}
	csr, err := pki.CSR(key, n.ID)
	if err != nil {
		return nil, err
	}
	cert, err := pki.Issue(nodeCA, csr, certificateRequest(n, true, now, 30))
	if err != nil {
		return nil, err
	}
	keyPEM, err := pki.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	secrets, err := foundingSecrets(func(id string, plain []byte) Secret {
		return Secret{ID: id, Sealed: ring.Seal(plain, []byte(id))}
	}, randomKey(), randomKey(), randomKey(), n.ID, map[string][]byte{
		nodeCA.Digest(): nodeCA.KeyPEM(), routerCA.Digest(): routerCA.KeyPEM(),
	})
	if err != nil {
		return nil, err
	}
	digest, err := keyDigest(csr)
	if err != nil {
		return nil, err
	}
	password := NewPassword()
	n.JoinedAt, n.Generation, n.AllowedRoles = now, 1, node.AllRoles()
	n.PlacementZones = []string{}
	return &NewCluster{
		Founding: Founding{
			Record: Record{
				ID: "cluster", ClusterID: id, CreatedAt: now, Founder: n.ID, Domain: domain, Micro: micro,
				Voters: []node.ID{n.ID},
			},
			Member:      Member{Node: n, KeyDigest: digest},
			Authorities: []Authority{authorityRow(nodeCA, now, true), authorityRow(routerCA, now, true)},
			Secrets:     secrets,
			Admin:       Admin{Username: "admin", Hash: HashPassword(password)},
		},
		Ring: ring, Certificate: cert, Key: keyPEM, Authorities: nodeCA.CertPEM(), Password: password,
	}, nil
}

func authorityRow(ca *pki.CA, now time.Time, active bool) Authority {
	return Authority{Digest: ca.Digest(), Kind: string(ca.Kind()), CertPEM: ca.CertPEM(), CreatedAt: now, Active: active}
}

func randomKey() []byte {
	k := make([]byte, 32)
	rand.Read(k) // never fails
	return k
}

// NewPassword returns a random password of 120 bits.
func NewPassword() string {
	b := make([]byte, 15)
	rand.Read(b) // never fails
	return tokenEncoding.EncodeToString(b)
}

// Parameters of argon2id, from RFC 9106 §4 (second recommended set, with less
// parallelism for small machines).
const (
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 2
	argonKeyLen  = 32
)

// HashPassword returns the argon2id hash of a password in PHC string form.
func HashPassword(password string) string {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails
	sum := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKeyLen)
	debug.FreeOSMemory() // 64 MiB that are not needed again for long
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		enc.EncodeToString(salt), enc.EncodeToString(sum))
}

// FirstAssignment is the assignment that a new cluster's first node starts
// from; it is replaced as soon as Raft is up.
func FirstAssignment(n *NewCluster) (Assignment, error) {
	f := n.Founding
	open := func(id string) ([]byte, error) {
		for _, s := range f.Secrets {
			if s.ID == id {
				return n.Ring.Open(s.Sealed, []byte(id))
			}
		}
		return nil, fmt.Errorf("the founding lacks the secret %s", id)
	}
	a := Assignment{
		ClusterID: f.Record.ClusterID, Domain: f.Record.Domain, Micro: f.Record.Micro, Founder: f.Record.Founder,
		Self: f.Member.Node, Nodes: []node.Node{f.Member.Node}, Voters: f.Record.Voters,
		Authorities: n.Authorities, CertDays: 30, Controller: &ControllerSecrets{},
	}
	for _, auth := range f.Authorities {
		if auth.Kind == string(pki.ClusterCA) {
			a.Issuer = auth.Digest
		}
	}
	var keys, token, management []byte
	for id, into := range map[string]*[]byte{
		gossipKeysSecret: &keys, consulGossipSecret: &a.ConsulGossip, consulNodeSecret(a.Self.ID): &token,
		consulManagementSecret: &management, nomadGossipSecret: &a.Controller.NomadGossip,
	} {
		var err error
		if *into, err = open(id); err != nil {
			return a, err
		}
	}
	a.ConsulToken, a.Controller.ConsulManagement = string(token), string(management)
	for _, s := range f.Secrets {
		if s.ID == authoritySecret(a.Issuer) {
			a.Controller.AuthorityKey = s.Sealed
		}
	}
	return a, json.Unmarshal(keys, &a.GossipKeys)
}
