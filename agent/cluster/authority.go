package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// issuer opens the authority that signs node certificates now.
func (c *Controller) issuer(r consensus.Reader) (*pki.CA, error) {
	for _, a := range Authorities(r, string(pki.ClusterCA)) {
		if !a.Active {
			continue
		}
		key, err := c.secret(r, authoritySecret(a.Digest))
		if err != nil {
			return nil, err
		}
		return pki.ParseCA(a.CertPEM, key)
	}
	return nil, rpcerr.New(rpcerr.Unavailable, "this controller has not caught up yet: it knows no authority")
}

// issue signs a certificate for a node as its record says now and writes that
// down. It refuses when the node has been removed meanwhile.
func (c *Controller) issue(ctx context.Context, v *consensus.View, m Member, csr []byte) ([]byte, error) {
	ca, err := c.issuer(v)
	if err != nil {
		return nil, err
	}
	rec, _ := TheRecord(v)
	now := c.cfg.Now()
	server := slices.Contains(rec.Voters, m.ID)
	days := intSetting(v, certificateDays)
	text, err := pki.Issue(ca, csr, certificateRequest(m.Node, server, now, days))
	if err != nil {
		return nil, rpcerr.New(rpcerr.Invalid, "certificate request: %v", err)
	}
	cert, err := pki.ParseCert(text)
	if err != nil {
		return nil, err
	}
	_, err = cmdIssued.Propose(ctx, c.cons, Certificate{
		NodeID: m.ID, Serial: cert.SerialNumber.Text(16), Issuer: ca.Digest(), NotAfter: cert.NotAfter, Server: server,
	})
	return text, err
}

// certificateRequest says what a node's certificate shall hold.
func certificateRequest(n node.Node, server bool, now time.Time, days int) pki.Request {
	addr, _ := netip.ParseAddr(n.Address) // checked when the node joined
	return pki.Request{
		ID: n.ID, Name: n.Name, Address: addr, ConsulServer: server, NomadServer: server,
		NomadClient: n.Roles.RunsNomadClient() || server, Now: now, Lifetime: time.Duration(days) * 24 * time.Hour,
	}
}

// Renew issues a new certificate to a member. An expired one is enough to
// ask: a cluster that was switched off for months comes back.
func (c *Controller) Renew(ctx context.Context, id node.ID, csr []byte) ([]byte, error) {
	v, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	m, ok := consensus.Get[Member](v, nodesTable, "id", string(id))
	if !ok {
		return nil, rpcerr.New(rpcerr.Denied, "node %s does not belong to the cluster (any more)", id)
	}
	return c.issue(ctx, v, m, csr)
}

// RenewOffline issues the controller's own certificate without the cluster:
// from the sealed authority key in its last assignment and the local ring.
// It is for a start when Raft cannot come up because all certificates have
// expired.
func RenewOffline(a Assignment, ring opener, csr []byte, now time.Time) ([]byte, error) {
	if a.Controller == nil {
		return nil, rpcerr.New(rpcerr.Precondition, "only a controller can renew its own certificate")
	}
	bundle, err := pki.ParseBundle(a.Authorities)
	if err != nil {
		return nil, err
	}
	cert, ok := bundle.ByDigest(a.Issuer)
	if !ok {
		return nil, fmt.Errorf("the authority %s is not in the bundle", a.Issuer)
	}
	key, err := ring.Open(a.Controller.AuthorityKey, []byte(authoritySecret(a.Issuer)))
	if err != nil {
		return nil, err
	}
	ca, err := pki.ParseCA(pki.EncodeCert(cert), key)
	if err != nil {
		return nil, err
	}
	return pki.Issue(ca, csr, certificateRequest(a.Self, a.IsVoter(), now, a.CertDays))
}

// opener is what RenewOffline needs of a seal.Ring.
type opener interface {
	Open(sealed, aad []byte) ([]byte, error)
}
