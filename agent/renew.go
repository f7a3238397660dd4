package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/cluster/pki"
)

// renewalDue says why the node needs another certificate, "" if it does not.
func (r *runtime) renewalDue(a cluster.Assignment) string {
	leaf := r.creds.leaf()
	server := slices.Contains(leaf.DNSNames, pki.ConsulServerName)
	client := slices.Contains(leaf.DNSNames, pki.NomadClientName)
	switch {
	case r.cfg.Now().After(pki.RenewAt(leaf)):
		return "a third of its lifetime has passed"
	case r.creds.issuer() != a.Issuer:
		return "the cluster has a new authority"
	case server != a.IsVoter() && !(server && r.kids.runsServer()):
		return "the node's server role changed"
	case a.Self.Roles.RunsNomadClient() && !client:
		return "the node runs a Nomad client now"
	}
	return ""
}

// renewals lets one renewal run at a time and spaces out failures.
type renewals struct {
	mu    sync.Mutex
	next  time.Time // not before, after a failure
	pause time.Duration
}

const maxRenewPause = 30 * time.Second

// renewIfDue gets a new certificate when one is needed. A failure is tried
// again at one of the next checks.
func (r *runtime) renewIfDue(ctx context.Context) {
	r.renewals.mu.Lock()
	defer r.renewals.mu.Unlock()
	why := r.renewalDue(r.dir.get())
	if why == "" || r.isRemoved() != nil || time.Now().Before(r.renewals.next) {
		return
	}
	if err := r.renew(ctx); err != nil {
		if ctx.Err() == nil {
			r.log.Warn("renew the certificate; will try again", "why", why, "err", err)
		}
		r.renewals.pause = min(max(2*r.renewals.pause, time.Second), maxRenewPause)
		r.renewals.next = time.Now().Add(r.renewals.pause)
		return
	}
	r.renewals.pause = 0
	r.log.Info("renewed the certificate", "why", why, "until", r.creds.leaf().NotAfter)
	r.kids.reloadTLS(ctx)
}

func (r *runtime) renew(ctx context.Context) error {
	csr, err := pki.CSR(r.creds.key, r.id.ID)
	if err != nil {
		return err
	}
	resp, err := ask(ctx, r, cluster.MethodRenew, &cluster.RenewRequest{CSR: csr})
	if err != nil {
		return err
	}
	return r.useCertificate(resp.Certificate, r.dir.get().Authorities)
}

// useCertificate checks, saves and then uses a certificate. Once it is in use
// the cluster may drop the authority of the one before.
func (r *runtime) useCertificate(cert, authorities []byte) error {
	if err := newCredentials(r.id.ClusterID, r.creds.key, r.cfg.Now).set(cert, authorities); err != nil {
		return err
	}
	if err := r.store.saveCertificate(cert); err != nil {
		return err
	}
	return r.creds.set(cert, authorities)
}

// renewOffline gives a starting controller a certificate when its own has
// expired: if all have, nobody else could.
func (r *runtime) renewOffline() error {
	now := r.cfg.Now()
	if now.Before(r.creds.leaf().NotAfter) {
		return nil
	}
	ring, err := r.store.ring()
	if err != nil {
		return err
	}
	a := r.dir.get()
	if ring == nil || a.Controller == nil {
		r.log.Warn("the certificate has expired; a controller will renew it", "since", r.creds.leaf().NotAfter)
		return nil
	}
	csr, err := pki.CSR(r.creds.key, r.id.ID)
	if err != nil {
		return err
	}
	cert, err := cluster.RenewOffline(a, ring, csr, now)
	if err != nil {
		return fmt.Errorf("the certificate expired on %s and cannot be renewed here: %w", r.creds.leaf().NotAfter, err)
	}
	r.log.Warn("the certificate had expired; renewed it from the local key ring", "expired", r.creds.leaf().NotAfter)
	return r.useCertificate(cert, a.Authorities)
}
