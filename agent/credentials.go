package agent

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/node"
)

// credentials is what the node shows and trusts; it implements
// rpc.Credentials. It is safe for concurrent use.
type credentials struct {
	clusterID string
	now       func() time.Time
	key       crypto.Signer

	mu    sync.RWMutex
	cert  *tls.Certificate
	roots pki.Bundle
}

func newCredentials(clusterID string, key crypto.Signer, now func() time.Time) *credentials {
	return &credentials{clusterID: clusterID, key: key, now: now}
}

// load reads the node's certificate from disk.
func (c *credentials) load(path string, authorities []byte) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := c.set(text, authorities); err != nil {
		return errDamaged(path, err)
	}
	return nil
}

// set replaces certificate and trust together.
func (c *credentials) set(certPEM, authorities []byte) error {
	roots, err := pki.ParseBundle(authorities)
	if err != nil {
		return err
	}
	leaf, err := pki.ParseCert(certPEM)
	if err != nil {
		return err
	}
	issuer, ok := roots.IssuerOf(leaf)
	if !ok {
		return fmt.Errorf("the node's certificate is signed by none of the trusted authorities")
	}
	keyPEM, err := pki.EncodeKey(c.key)
	if err != nil {
		return err
	}
	cert, err := pki.TLSCertificate(certPEM, keyPEM, issuer)
	if err != nil {
		return err
	}
	cert.Leaf = leaf
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cert, c.roots = cert, roots
	return nil
}

// trust replaces the authorities only.
func (c *credentials) trust(authorities []byte) error {
	roots, err := pki.ParseBundle(authorities)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roots = roots
	return nil
}

// Certificate implements rpc.Credentials.
func (c *credentials) Certificate() *tls.Certificate {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.cert
}

// leaf is the certificate itself.
func (c *credentials) leaf() *x509.Certificate { return c.Certificate().Leaf }

// issuer is the digest of the authority that signed the certificate.
func (c *credentials) issuer() string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if ca, ok := c.roots.IssuerOf(c.cert.Leaf); ok {
		return pki.Digest(ca)
	}
	return ""
}

// Roots implements rpc.Credentials.
func (c *credentials) Roots() []*x509.Certificate {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.roots
}

// ClusterID implements rpc.Credentials.
func (c *credentials) ClusterID() string { return c.clusterID }

// Now implements rpc.Credentials.
func (c *credentials) Now() time.Time { return c.now() }

// directory is the node's newest assignment: who belongs, with which roles.
// It implements rpc.Members. It is safe for concurrent use.
type directory struct {
	primary func() node.ID
	// tables is how a controller looks a node up in its own tables; shown is
	// false when they do not show all that the assignment does.
	tables func(id node.ID, since uint64) (n node.Node, belongs, shown bool)

	mu      sync.RWMutex
	a       cluster.Assignment
	changed chan struct{} // closed and replaced at each change
}

func newDirectory(a cluster.Assignment) *directory {
	return &directory{
		a: a, changed: make(chan struct{}), primary: func() node.ID { return "" },
		tables: func(node.ID, uint64) (n node.Node, belongs, shown bool) { return n, false, false },
	}
}

// get returns the assignment; its slices must not be changed.
func (d *directory) get() cluster.Assignment {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.a
}

// watch returns the assignment and a channel that is closed at the next
// change.
func (d *directory) watch() (cluster.Assignment, <-chan struct{}) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.a, d.changed
}

func (d *directory) set(a cluster.Assignment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.a = a
	close(d.changed)
	d.changed = make(chan struct{})
}

// Lookup implements rpc.Members. A controller judges by its own tables where
// they show as much as its assignment: taking that over lasts, and until it is
// done a node that has heard from here that it is a member, or a controller,
// would be refused.
func (d *directory) Lookup(id node.ID) (node.Node, bool) {
	a := d.get()
	if n, belongs, shown := d.tables(id, a.Index); shown {
		return n, belongs
	}
	return a.Find(id)
}

// Primary implements rpc.Members.
func (d *directory) Primary() node.ID { return d.primary() }

// removedControllers lists nodes that were in the old assignment and are not in the new
// one, or are controllers no more.
func removedControllers(was, is cluster.Assignment) []node.ID {
	var out []node.ID
	for _, n := range was.Nodes {
		now, ok := is.Find(n.ID)
		if !ok || n.Roles.Has(node.Controller) && !now.Roles.Has(node.Controller) && !slices.Contains(is.Voters, n.ID) {
			out = append(out, n.ID)
		}
	}
	return out
}
