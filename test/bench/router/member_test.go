package router

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/node"
)

// clusterFile is what the processes of a run know of their cluster.
type clusterFile struct {
	ID    string
	CA    []byte // PEM, as all
	Nodes map[string]clusterNode
}

type clusterNode struct {
	ID        node.ID
	Cert, Key []byte
}

// writeCluster makes a cluster of a controller and a router.
func writeCluster(b *testing.B) (path string) {
	b.Helper()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	now := time.Now()
	f := clusterFile{ID: uuid.NewString(), Nodes: map[string]clusterNode{}}
	ca, err := pki.NewCA(f.ID, pki.ClusterCA, now)
	must(err)
	f.CA = pki.EncodeCert(ca.Cert())
	for _, name := range []string{"controller", "router"} {
		key, err := pki.NewKey()
		must(err)
		n := clusterNode{ID: node.NewID()}
		n.Key, err = pki.EncodeKey(key)
		must(err)
		csr, err := pki.CSR(key, n.ID)
		must(err)
		n.Cert, err = pki.Issue(ca, csr, pki.Request{
			ID: n.ID, Name: name, Address: netip.MustParseAddr("127.0.0.1"), Now: now, Lifetime: 24 * time.Hour,
		})
		must(err)
		f.Nodes[name] = n
	}
	data, err := json.Marshal(f)
	must(err)
	path = filepath.Join(b.TempDir(), "cluster.json")
	must(os.WriteFile(path, data, 0o600))
	return path
}

// member is a node of the file: rpc.Credentials and rpc.Members.
type member struct {
	file clusterFile
	ca   *x509.Certificate
	cert *tls.Certificate
}

func readMember(path, name string) *member {
	data, err := os.ReadFile(path)
	check(err)
	m := &member{}
	check(json.Unmarshal(data, &m.file))
	m.ca, err = pki.ParseCert(m.file.CA)
	check(err)
	n := m.file.Nodes[name]
	m.cert, err = pki.TLSCertificate(n.Cert, n.Key, m.ca)
	check(err)
	return m
}

func (m *member) Certificate() *tls.Certificate { return m.cert }
func (m *member) Roots() []*x509.Certificate    { return []*x509.Certificate{m.ca} }
func (m *member) ClusterID() string             { return m.file.ID }
func (*member) Now() time.Time                  { return time.Now() }
func (m *member) Primary() node.ID              { return m.file.Nodes["controller"].ID }

func (m *member) Lookup(id node.ID) (node.Node, bool) {
	for name, n := range m.file.Nodes {
		if n.ID == id {
			return node.Node{ID: id, Name: name, Roles: node.NewRoleSet(node.Controller, node.Router)}, true
		}
	}
	return node.Node{}, false
}
