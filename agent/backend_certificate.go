package agent

import (
	"context"
	"math"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/inspect"
	"github.com/stackato/stackato/agent/local"
)

// CertificateAdd implements local.CertificateBackend.
func (b *backend) CertificateAdd(ctx context.Context, req local.CertificateAddRequest) (local.Certificate, error) {
	_, c, err := b.controllerOnly()
	if err != nil {
		return local.Certificate{}, err
	}
	out, err := c.PutSiteCertificate(ctx, req.Name, req.Cert, req.Key, req.Replace)
	if err != nil {
		return local.Certificate{}, err
	}
	return b.certificateView(out), nil
}

// CertificateList implements local.CertificateBackend.
func (b *backend) CertificateList(ctx context.Context) ([]local.Certificate, error) {
	_, c, err := b.controllerOnly()
	if err != nil {
		return nil, err
	}
	list, err := c.ListSiteCertificates(ctx)
	if err != nil {
		return nil, err
	}
	out := []local.Certificate{}
	for _, s := range list {
		out = append(out, b.certificateView(s))
	}
	return out, nil
}

// CertificateRemove implements local.CertificateBackend.
func (b *backend) CertificateRemove(ctx context.Context, name string) error {
	_, c, err := b.controllerOnly()
	if err != nil {
		return err
	}
	return c.DelSiteCertificate(ctx, name)
}

func (b *backend) certificateView(s cluster.SiteCertificate) local.Certificate {
	left := s.NotAfter.Sub(b.a.cfg.Now())
	out := local.Certificate{
		Name: s.Name, Hosts: s.Hosts, NotAfter: s.NotAfter, Modified: s.Modified, State: local.CertificateValid,
		ExpiresInDays: int(math.Floor(float64(left) / float64(24*time.Hour))),
	}
	switch {
	case left < 0:
		out.State = local.CertificateExpired
	case left < inspect.SiteWarnBefore:
		out.State = local.CertificateSoon
	}
	return out
}

// siteCertificates are those of operators' domains, as this controller knows
// them; nil on other nodes.
func (r *runtime) siteCertificates() []inspect.SiteCertificate {
	if r.role == nil {
		return nil
	}
	var out []inspect.SiteCertificate
	for _, s := range cluster.SiteCertificates(r.role.cons.State().Read()) {
		out = append(out, inspect.SiteCertificate{Name: s.Name, NotAfter: s.NotAfter})
	}
	return out
}
