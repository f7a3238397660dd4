package inspect

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/local"
)

const day = 24 * time.Hour

// Bounds of the certificates check.
const (
	renewSlack   = day     // after the time at which a renewal was due
	certFail     = 3 * day // before the node's certificate ends
	caWarnBefore = 180 * day
	caFailBefore = 30 * day
)

func (env Env) certificates(context.Context) []local.Finding {
	if !env.Configured {
		return env.nothing()
	}
	const again = "join the node again: stackato-agent leave --force, then stackato-agent join"
	if env.Certificate == nil {
		return failed(again, "the node has no certificate")
	}
	now := env.Now()
	out := judgeNodeCertificate(env.Certificate, now)
	id, err := pki.Verify([]*x509.Certificate{env.Certificate}, env.Authorities, env.ClusterID, now, pki.Options{AllowExpired: true})
	switch {
	case errors.Is(err, pki.ErrNotYetValid):
		out = append(out, failed(setClock, "%v", err)...)
	case err != nil:
		out = append(out, failed(again, "the node's own certificate is refused: %v", err)...)
	case id.ID != env.Self.ID:
		out = append(out, failed(again, "the certificate names node %s, this one is %s", id.ID, env.Self.ID)...)
	}
	out = append(out, env.judgeNames()...)
	out = append(out, judgeAuthorities(env.Authorities, now)...)
	return append(out, judgeSites(env.SiteCertificates, now)...)
}

// SiteCertificate is one that routers show for an operator's domain.
type SiteCertificate struct {
	Name     string
	NotAfter time.Time
}

// SiteWarnBefore is how long before its end such a certificate is warned of:
// nobody but the operator renews it.
const SiteWarnBefore = 30 * day

func judgeSites(list []SiteCertificate, now time.Time) []local.Finding {
	var out []local.Finding
	for _, s := range list {
		remedy := "get a new one and put it in its place: kato certificate add " + s.Name + " --replace --cert FILE --key FILE"
		switch left := s.NotAfter.Sub(now); {
		case left <= 0:
			out = append(out, failed(remedy, "the routers' certificate %s has ended on %s", s.Name, s.NotAfter.UTC().Format(time.DateOnly))...)
		case left < SiteWarnBefore:
			out = append(out, warned(remedy, "the routers' certificate %s ends on %s (%s)", s.Name, s.NotAfter.UTC().Format(time.DateOnly), days(left))...)
		}
	}
	return out
}

func judgeNodeCertificate(cert *x509.Certificate, now time.Time) []local.Finding {
	left := cert.NotAfter.Sub(now)
	const remedy = "it renews by itself: see whether a controller answers (kato status -a) and the clock is right (kato inspect clock), then why not: journalctl -u stackato-agent"
	detail := fmt.Sprintf("the node's certificate ends on %s (%s)", cert.NotAfter.UTC().Format(time.DateOnly), days(left))
	switch {
	case left <= 0:
		return failed(remedy, "the node's certificate has ended on %s", cert.NotAfter.UTC().Format(time.DateOnly))
	case left < certFail:
		return failed(remedy, "%s", detail)
	case now.After(pki.RenewAt(cert).Add(renewSlack)):
		return warned(remedy, "%s; its renewal was due on %s", detail, pki.RenewAt(cert).UTC().Format(time.DateOnly))
	}
	return ok("%s", detail)
}

// judgeNames compares the names that let a node act for Consul and Nomad with
// its role.
func (env Env) judgeNames() []local.Finding {
	want := map[string]bool{
		pki.ConsulServerName: env.Voter, pki.NomadServerName: env.Voter,
		pki.NomadClientName: env.Voter || env.Self.Roles.RunsNomadClient(),
	}
	var missing, surplus []string
	for name, wanted := range want {
		switch has := slices.Contains(env.Certificate.DNSNames, name); {
		case wanted && !has:
			missing = append(missing, name)
		case has && !wanted:
			surplus = append(surplus, name)
		}
	}
	slices.Sort(missing)
	slices.Sort(surplus)
	const remedy = "wait a minute: after a change of roles the agent gets a new certificate by itself; if it stays so: systemctl restart stackato-agent"
	var out []local.Finding
	if len(missing) > 0 {
		out = append(out, failed(remedy, "the certificate lacks %s, which the node's role needs", strings.Join(missing, ", "))...)
	}
	if len(surplus) > 0 {
		out = append(out, warned(remedy, "the certificate has %s, which the node's role does not need", strings.Join(surplus, ", "))...)
	}
	return out
}

func judgeAuthorities(trusted pki.Bundle, now time.Time) []local.Finding {
	const remedy = "make a new one, with overlap and without a break: kato rotate ca"
	if len(trusted) == 0 {
		return failed("join the node again", "the node trusts no authority")
	}
	newest := trusted[0]
	left := newest.NotAfter.Sub(now)
	detail := fmt.Sprintf("the cluster's authority ends on %s (%s)", newest.NotAfter.UTC().Format(time.DateOnly), days(left))
	if len(trusted) > 1 {
		detail += fmt.Sprintf("; %d are trusted while they are rotated", len(trusted))
	}
	switch {
	case left < caFailBefore:
		return failed(remedy, "%s", detail)
	case left < caWarnBefore:
		return warned(remedy, "%s", detail)
	}
	return ok("%s", detail)
}

// days writes a time that is left.
func days(d time.Duration) string {
	if d < 2*day {
		return fmt.Sprintf("in %d hours", int(d.Hours()))
	}
	return fmt.Sprintf("in %d days", int(d/day))
}
