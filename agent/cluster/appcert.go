package cluster

import (
	"context"
	"strings"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// AppCertificateRequest asks for a certificate that a router shows to the
// world.
type AppCertificateRequest struct {
	CSR []byte `json:"csr"`
}

// AppCertificateResponse holds it, PEM, and the authorities that people's
// clients have to trust.
type AppCertificateResponse struct {
	Certificate []byte `json:"certificate"`
	Authorities []byte `json:"authorities"`
}

// IssueAppCertificate signs a router's certificate for the cluster's domain
// and all names below it. The caller is a node with the router role.
func (c *Controller) IssueAppCertificate(ctx context.Context, id node.ID, csr []byte) (AppCertificateResponse, error) {
	v, err := c.read(ctx)
	if err != nil {
		return AppCertificateResponse{}, err
	}
	m, ok := consensus.Get[Member](v, nodesTable, "id", string(id))
	if !ok || !m.Roles.Has(node.Router) {
		return AppCertificateResponse{}, rpcerr.New(rpcerr.Denied, "only routers get app-facing certificates")
	}
	rec, ok := TheRecord(v)
	if !ok {
		return AppCertificateResponse{}, rpcerr.New(rpcerr.Unavailable, "this controller has not caught up yet")
	}
	out := AppCertificateResponse{}
	for _, a := range Authorities(v, string(pki.RouterCA)) {
		out.Authorities = append(out.Authorities, a.CertPEM...)
		if !a.Active {
			continue
		}
		key, err := c.secret(v, authoritySecret(a.Digest))
		if err != nil {
			return out, err
		}
		ca, err := pki.ParseCA(a.CertPEM, key)
		if err != nil {
			return out, err
		}
		days := time.Duration(intSetting(v, certificateDays)) * 24 * time.Hour
		out.Certificate, err = pki.IssueApp(ca, csr, []string{rec.Domain, "*." + rec.Domain}, c.cfg.Now(), days)
		if err != nil {
			return out, rpcerr.New(rpcerr.Invalid, "certificate request: %v", err)
		}
	}
	if out.Certificate == nil {
		return out, rpcerr.New(rpcerr.Internal, "the cluster has no router CA")
	}
	return out, nil
}

// RouterAuthorities are, PEM, the authorities that routers' certificates come
// from, as this controller knows them: what apps trust to call each other.
func (c *Controller) RouterAuthorities() string {
	var out strings.Builder
	for _, a := range Authorities(c.cons.State().Read(), string(pki.RouterCA)) {
		out.Write(a.CertPEM)
	}
	return out.String()
}

// FirstAdmin returns the first administrator's credential; ok is false before
// init.
func (c *Controller) FirstAdmin() (Admin, bool) {
	return consensus.Get[Admin](c.cons.State().Read(), adminsTable, "id", "admin")
}

// Setting returns a setting's value as this controller knows it, nil if it is
// not set and has no default.
func (c *Controller) Setting(key string) []byte {
	if s, ok := consensus.Get[Setting](c.cons.State().Read(), settingsTable, "id", key); ok {
		return s.Value
	}
	known, _ := knownSetting(key)
	return known.Default
}
