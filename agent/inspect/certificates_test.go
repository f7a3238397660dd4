package inspect

import (
	"crypto/x509"
	"net/netip"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/node"
)

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const clusterID = "6a204bd8-9a5c-4c05-9d94-09c3f0b4d7f1"

func newCA(t *testing.T, now time.Time) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA(clusterID, pki.ClusterCA, now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *pki.CA, r pki.Request) *x509.Certificate {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.CSR(key, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	text, err := pki.Issue(ca, csr, r)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.ParseCert(text)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestCertificates(t *testing.T) {
	ca, next := newCA(t, begin), newCA(t, begin.Add(day))
	self := node.Node{ID: node.NewID(), Name: "n1", Roles: node.NewRoleSet(node.Base, node.DEA)}
	request := pki.Request{ID: self.ID, Name: "n1", Address: netip.MustParseAddr("10.0.0.1"), NomadClient: true, Now: begin}
	dea := issue(t, ca, request)
	request.ConsulServer, request.NomadServer = true, true
	voter := issue(t, ca, request)
	request.Now = begin.Add(10*365*day - 40*day)
	late := issue(t, ca, request)
	const good = "ok: the node's certificate ends on 2026-03-31"

	for name, tt := range map[string]struct {
		change func(*Env)
		want   []string
	}{
		"fresh":              {func(*Env) {}, []string{good + " (in 30 days)", "ok: authority ends on 2036-02-27"}},
		"renewal is due now": {func(e *Env) { e.Now = at(10*day + time.Hour) }, []string{good, "ok: authority"}},
		"renewal is overdue": {func(e *Env) { e.Now = at(11*day + time.Hour) }, []string{"warn: its renewal was due on 2026-03-11", "ok: authority"}},
		"ends soon":          {func(e *Env) { e.Now = at(28 * day) }, []string{"fail: (in 2 days)", "ok: authority"}},
		"ended":              {func(e *Env) { e.Now = at(31 * day) }, []string{"fail: has ended on 2026-03-31", "ok: authority"}},
		"clock is behind":    {func(e *Env) { e.Now = at(-day) }, []string{"ok: ", "fail: not valid yet", "ok: authority"}},
		"none":               {func(e *Env) { e.Certificate = nil }, []string{"fail: no certificate"}},
		"another cluster":    {func(e *Env) { e.ClusterID = "other" }, []string{good, "fail: of another cluster", "ok: authority"}},
		"another authority":  {func(e *Env) { e.Authorities = pki.Bundle{next.Cert()} }, []string{good, "fail: of another cluster", "ok: authority"}},
		"no authority":       {func(e *Env) { e.Authorities = nil }, []string{good, "fail: of another cluster", "fail: trusts no authority"}},
		"another node":       {func(e *Env) { e.Self.ID = node.NewID() }, []string{good, "fail: names node", "ok: authority"}},
		"became voter":       {func(e *Env) { e.Voter = true }, []string{good, "fail: lacks server.dc1.consul, server.global.nomad", "ok: authority"}},
		"voter":              {func(e *Env) { e.Voter, e.Certificate = true, voter }, []string{good, "ok: authority"}},
		"no voter any more":  {func(e *Env) { e.Certificate = voter }, []string{good, "warn: has server.dc1.consul, server.global.nomad", "ok: authority"}},
		"lost dea":           {func(e *Env) { e.Self.Roles = node.NewRoleSet(node.Base) }, []string{good, "warn: has client.global.nomad", "ok: authority"}},
		"rotation":           {func(e *Env) { e.Authorities = e.Authorities.With(next.Cert()) }, []string{good, "ok: 2 are trusted"}},
		"authority ends": {
			func(e *Env) { e.Voter, e.Certificate, e.Now = true, late, at(10*365*day-40*day) },
			[]string{"ok: ", "warn: the cluster's authority ends on 2036-02-27 (in 40 days)"},
		},
		"authority ends soon": {
			func(e *Env) { e.Voter, e.Certificate, e.Now = true, late, at(10*365*day-28*day) },
			[]string{"warn: its renewal was due", "fail: (in 28 days)"},
		},
		"unconfigured": {func(e *Env) { e.Configured = false }, []string{"ok: in no cluster"}},
	} {
		t.Run(name, func(t *testing.T) {
			env := Env{
				Configured: true, Self: self, Certificate: dea, Authorities: pki.Bundle{ca.Cert()}, ClusterID: clusterID, Now: at(0),
			}
			tt.change(&env)
			expect(t, env.certificates(t.Context()), tt.want...)
		})
	}
}

func at(d time.Duration) func() time.Time { return func() time.Time { return begin.Add(d) } }
