package cluster

import (
	"context"
	"errors"
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
// down. It refuses when the node has been removed meanwhile, and begins anew
// when the authority has been replaced: what a dropped one signed would cut
// the node off.
func (c *Controller) issue(ctx context.Context, id node.ID, csr []byte) ([]byte, error) {
	for attempt := 0; ; attempt++ {
		v := c.cons.State().Read()
		m, ok := consensus.Get[Member](v, nodesTable, "id", string(id))
		if !ok {
			return nil, errNoMember(id)
		}
		text, row, err := c.sign(v, m, csr)
		if err != nil {
			return nil, err
		}
		_, err = cmdIssued.Propose(ctx, c.cons, row)
		if err == nil {
			return text, nil
		}
		if attempt == 2 || !errors.Is(err, rpcerr.Conflict) {
			return nil, err
		}
	}
}

func errNoMember(id node.ID) error {
	return rpcerr.New(rpcerr.Denied, "node %s does not belong to the cluster (any more)", id)
}

func (c *Controller) sign(v *consensus.View, m Member, csr []byte) ([]byte, Certificate, error) {
	ca, err := c.issuer(v)
	if err != nil {
		return nil, Certificate{}, err
	}
	rec, _ := TheRecord(v)
	server := slices.Contains(rec.Voters, m.ID)
	text, err := pki.Issue(ca, csr, certificateRequest(m.Node, server, c.cfg.Now(), intSetting(v, certificateDays)))
	if err != nil {
		return nil, Certificate{}, rpcerr.New(rpcerr.Invalid, "certificate request: %v", err)
	}
	cert, err := pki.ParseCert(text)
	if err != nil {
		return nil, Certificate{}, err
	}
	return text, Certificate{
		NodeID: m.ID, Serial: cert.SerialNumber.Text(16), Issuer: ca.Digest(), NotAfter: cert.NotAfter, Server: server,
	}, nil
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
	if err := c.cons.ReadIndex(ctx); err != nil {
		return nil, err
	}
	return c.issue(ctx, id, csr)
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
