package cluster

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/cluster/seal"
	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

func TestJoinRefusals(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	dea := node.NewRoleSet(node.Base, node.DEA)
	good, used, revoked := m.token(dea, 1), m.token(dea, 1), m.token(dea, 1)
	if _, err := m.Join(ctx, newJoiner(t, testNode("second", 2, node.DEA)).request(used, m.time.Now())); err != nil {
		t.Fatal(err)
	}
	if err := m.RevokeToken(ctx, revoked.ID); err != nil {
		t.Fatal(err)
	}
	_, expired, err := m.CreateToken(ctx, dea, time.Second, 1)
	if err != nil {
		t.Fatal(err)
	}
	m.time.add(time.Second)
	wrong := good
	wrong.Secret = strings.Repeat("a", len(good.Secret))
	hashed := good
	hashed.Secret = good.Hash()
	const makeNew = "on a controller make a new one with: stackato-agent token create"
	tests := []struct {
		name          string
		secret        JoinSecret
		change        func(*JoinRequest)
		code          rpcerr.Code
		message, hint string
	}{
		{"no token", JoinSecret{}, nil, rpcerr.Denied, "this join token is not known", makeNew},
		{"unknown token", NewJoinSecret(good.Digest), nil, rpcerr.Denied, "this join token is not known", makeNew},
		{"wrong secret", wrong, nil, rpcerr.Denied, "this join token is not known", makeNew},
		{"what the log holds is no secret", hashed, nil, rpcerr.Denied, "this join token is not known", makeNew},
		{"revoked", revoked, nil, rpcerr.Denied, "this join token has been revoked", makeNew},
		{"expired, to the second", expired, nil, rpcerr.Denied, "this join token has expired (2026-11-22T12:00:01Z)", makeNew},
		{"used up", used, nil, rpcerr.Denied, "this join token is used up", makeNew},
		{
			"a role that the token does not allow", good,
			func(r *JoinRequest) { r.Node.Roles = node.NewRoleSet(node.Base, node.Router, node.DEA) },
			rpcerr.Denied, "the join token does not allow the role router",
			"it allows base,dea; make another with: stackato-agent token create --roles router,dea",
		},
		{
			"a name in use", good, func(r *JoinRequest) { r.Node.Name = "first" },
			rpcerr.Conflict, `the node name "first" is in use (by 10.0.0.1)`,
			"choose another with --name, or remove the old node first: kato node remove first",
		},
		{
			"an address in use", good, func(r *JoinRequest) { r.Node.Address = "10.0.0.1" },
			rpcerr.Conflict, `the address 10.0.0.1 is in use by node "first"`,
			"choose another with --advertise, or remove the old node first: kato node remove first",
		},
		{
			"an address in use, written otherwise", good, func(r *JoinRequest) { r.Node.Address = "::ffff:10.0.0.1" },
			rpcerr.Conflict, `the address 10.0.0.1 is in use by node "first"`,
			"choose another with --advertise, or remove the old node first: kato node remove first",
		},
		{
			"one port of two in use", good, func(r *JoinRequest) { r.Node.Address, r.Node.RPCPort = "10.0.0.1", 9000 },
			rpcerr.Conflict, `the address 10.0.0.1 is in use by node "first"`,
			"choose another with --advertise, or remove the old node first: kato node remove first",
		},
		{
			"another's id", good, func(r *JoinRequest) { r.Node.ID = m.self.ID },
			rpcerr.Conflict, "node id " + string(m.self.ID) + " is in use", "",
		},
		{
			"another release", good, func(r *JoinRequest) { r.Node.Version = "2.0.0" },
			rpcerr.UnsupportedVersion, `version "2.0.0" does not fit the cluster's 1.4.2`,
			"install a release of the same major and the same or a neighbouring minor version",
		},
		{
			"a slow clock", good, func(r *JoinRequest) { r.Now = r.Now.Add(-31 * time.Second) },
			rpcerr.Precondition, "the joining node's clock is off by -31s (at most 30s is accepted)",
			"set the clock (chrony or systemd-timesyncd) and join again",
		},
		{
			"no base role", good, func(r *JoinRequest) { r.Node.Roles = node.NewRoleSet(node.DEA) },
			rpcerr.Precondition, "the base role cannot be removed: every node has it; to take the node out of the cluster use: kato node remove", "",
		},
		{
			"load_balancer beside others", good,
			func(r *JoinRequest) { r.Node.Roles = node.NewRoleSet(node.Base, node.LoadBalancer, node.DEA) },
			rpcerr.Precondition, "load_balancer excludes every other role (the node would also have dea): give load_balancer to a node of its own", "",
		},
		{"a bad id", good, func(r *JoinRequest) { r.Node.ID = "x" }, rpcerr.Invalid, `node id "x" is not a UUID in canonical form`, ""},
		{
			"a bad name", good, func(r *JoinRequest) { r.Node.Name = "No" },
			rpcerr.Invalid, `node name "No" is not a DNS label: use 1 to 63 of a-z, 0-9 and -, not first or last`, "",
		},
		{
			"a bad zone", good, func(r *JoinRequest) { r.Node.Zone = "a b" },
			rpcerr.Invalid, `zone "a b": use 1 to 63 of a-z, A-Z, 0-9, '-', '_' and '.'`, "",
		},
		{"a bad port", good, func(r *JoinRequest) { r.Node.GossipPort = 0 }, rpcerr.Invalid, "port 0 is not from 1 to 65535", ""},
		{
			"IPv6", good, func(r *JoinRequest) { r.Node.Address = "fd00::1" },
			rpcerr.Invalid, "IPv6-only nodes are not supported yet: give the node an IPv4 address with --advertise", "",
		},
		{
			"no request for a certificate", good, func(r *JoinRequest) { r.CSR = nil },
			rpcerr.Invalid, "certificate request: certificate request: no PEM block found", "",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newJoiner(t, testNode("third", 3, node.DEA)).request(tt.secret, m.time.Now())
			if tt.change != nil {
				tt.change(&r)
			}
			m.unchanged(func() {
				_, err := m.Join(ctx, r)
				wantError(t, err, tt.code, tt.message, tt.hint)
			})
		})
	}
	// A refusal costs no use.
	if _, err := m.Join(ctx, newJoiner(t, testNode("third", 3, node.DEA)).request(good, m.time.Now())); err != nil {
		t.Fatal(err)
	}
}

// Strangers could fill the log of every controller otherwise.
func TestStrangerWritesNothing(t *testing.T) {
	m := single(t)
	before := m.cons.Stats().LastIndex
	for range 5 {
		if _, err := m.Join(testContext(t), newJoiner(t, testNode("x", 2)).request(NewJoinSecret("sha256:"), m.time.Now())); !errors.Is(err, rpcerr.Denied) {
			t.Fatal(err)
		}
	}
	if after := m.cons.Stats().LastIndex; after != before {
		t.Errorf("%d log entries by strangers", after-before)
	}
}

func TestJoinIsRepeatable(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	secret := m.token(0, 2)
	j := newJoiner(t, testNode("second", 2, node.DEA))
	one, err := m.Join(ctx, j.request(secret, m.time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	m.time.add(DefaultTokenTTL) // also when the token has expired meanwhile
	two, err := m.Join(ctx, j.request(secret, m.time.Now()))
	if err != nil {
		t.Fatalf("the same request again: %v", err)
	}
	if diff := cmp.Diff(one.Assignment.Self, two.Assignment.Self); diff != "" {
		t.Errorf("the repetition made another node:\n%s", diff)
	}
	if one.Assignment.ConsulToken == "" || one.Assignment.ConsulToken != two.Assignment.ConsulToken {
		t.Error("the repetition made another Consul token")
	}
	if got := Tokens(m.view())[0].Uses; got != 1 {
		t.Errorf("%d uses left, want 1", got)
	}
	wrong := secret
	wrong.Secret = "no"
	other := newJoiner(t, j.Node)
	another := m.token(0, 1)
	for _, tt := range []struct {
		name    string
		j       joiner
		s       JoinSecret
		code    rpcerr.Code
		message string
		hint    string
	}{
		{"the same key without the secret", j, wrong, rpcerr.Denied, "this join token is not known", newTokenHint},
		{"the same id with another key", other, secret, rpcerr.Conflict, "node id " + string(j.ID) + " is in use", ""},
		{"the same key with another token", j, another, rpcerr.Conflict, "node id " + string(j.ID) + " is in use", ""},
	} {
		m.unchanged(func() {
			_, err := m.Join(ctx, tt.j.request(tt.s, m.time.Now()))
			wantError(t, err, tt.code, tt.message, tt.hint)
		})
	}
	if err := m.RevokeToken(ctx, secret.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Join(ctx, j.request(secret, m.time.Now())); !errors.Is(err, rpcerr.Conflict) {
		t.Errorf("repeated with a revoked token: %v", err)
	}
}

// TestJoinsRace: of many joins with one token as many succeed as it has uses.
func TestJoinsRace(t *testing.T) {
	const uses, racing = 3, 16
	m := single(t)
	ctx := testContext(t)
	secret := m.token(0, uses)
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range racing {
		j := newJoiner(t, testNode("racer-"+string(rune('a'+i)), 10+i, node.DEA))
		wg.Go(func() {
			_, err := m.Join(ctx, j.request(secret, m.time.Now()))
			if err == nil {
				won.Add(1)
				return
			}
			if e := rpcerr.From(err); e.ErrCode != rpcerr.Denied || e.Message != "this join token is used up" {
				t.Errorf("%s: %v", j.Name, err)
			}
		})
	}
	wg.Wait()
	v := m.view()
	if won.Load() != uses || len(Members(v)) != uses+1 || Tokens(v)[0].Uses != 0 {
		t.Errorf("%d joins succeeded, %d nodes, %d uses left", won.Load(), len(Members(v)), Tokens(v)[0].Uses)
	}
}

func TestNodesShareAnAddressByPorts(t *testing.T) {
	m := single(t)
	n := testNode("second", 2, node.DEA)
	n.Address, n.RPCPort, n.GossipPort = m.self.Address, 7400, 7401
	m.admitted(n)
}

func TestClockSkewLimit(t *testing.T) {
	m := single(t)
	for skew, ok := range map[time.Duration]bool{
		0: true, 30 * time.Second: true, -30 * time.Second: true,
		30*time.Second + time.Nanosecond: false, -30*time.Second - time.Nanosecond: false,
	} {
		r := newJoiner(t, testNode("second", 2)).request(JoinSecret{}, m.time.Now().Add(skew))
		if err := m.checkJoin(r); (err == nil) != ok {
			t.Errorf("clock off by %s: %v", skew, err)
		}
	}
}

func TestCheckVersion(t *testing.T) {
	for theirs, ok := range map[string]bool{
		"1.4.2": true, "1.4.0": true, "1.5.0": true, "1.3.9": true, "1.4.2-rc.1": true, "1.4.2+build": true,
		"1.6.0": false, "1.2.0": false, "2.4.2": false, "0.4.2": false, "": false, "1.4": false, "v1.4.2": false,
		"1.-4.2": false, "+1.4.2": false, "1.x.2": false, "1.4.2" + strings.Repeat("0", 60): false,
	} {
		err := CheckVersion("1.4.2", theirs)
		if (err == nil) != ok || err != nil && !errors.Is(err, rpcerr.UnsupportedVersion) {
			t.Errorf("CheckVersion(1.4.2, %q) = %v", theirs, err)
		}
	}
	if CheckVersion("dev", "dev") == nil {
		t.Error("a build without version fits nothing")
	}
}

func parse(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	cert, err := pki.ParseCert(text)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestCertificateFollowsTheRecord(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	if _, err := m.PutSetting(ctx, certificateDays, []byte("7"), false, nil); err != nil {
		t.Fatal(err)
	}
	n := testNode("second", 2, node.Controller, node.Router)
	csr := newJoiner(t, n).csr
	joined := m.admitted(n)
	check := func(what string, text []byte, want ...string) {
		t.Helper()
		cert := parse(t, text)
		want = append([]string{"second.node", "localhost"}, want...)
		if diff := cmp.Diff(want, cert.DNSNames); diff != "" {
			t.Errorf("%s: names:\n%s", what, diff)
		}
		if got := cert.NotAfter.Sub(m.time.Now()); got != 7*24*time.Hour {
			t.Errorf("%s: lasts %s", what, got)
		}
		row, ok := consensus.Get[Certificate](m.view(), certsTable, "id", string(n.ID))
		if !ok || row.Serial != cert.SerialNumber.Text(16) || !row.NotAfter.Equal(cert.NotAfter) || row.Server != slices.Contains(want, pki.ConsulServerName) {
			t.Errorf("%s: row %+v", what, row)
		}
	}
	renew := func() []byte {
		t.Helper()
		text, err := m.Renew(ctx, n.ID, csr)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	voters := func(ids ...node.ID) {
		t.Helper()
		if _, err := cmdVoters.Propose(ctx, m.cons, votersInput{ids}); err != nil {
			t.Fatal(err)
		}
	}
	check("a controller without vote", joined.Certificate)
	voters(m.self.ID, n.ID)
	check("a voter", renew(), pki.ConsulServerName, pki.NomadServerName, pki.NomadClientName)
	voters(m.self.ID)
	check("no voter any more", renew())
	if _, err := m.SetRoles(ctx, Caller{Controller: true}, RoleRequest{Node: n.ID, Roles: node.NewRoleSet(node.Base, node.DEA), Generation: 1}); err != nil {
		t.Fatal(err)
	}
	check("a DEA", renew(), pki.NomadClientName)
	if _, err := cmdNodeRemove.Propose(ctx, m.cons, removeInput{ID: n.ID}); err != nil {
		t.Fatal(err)
	}
	m.unchanged(func() {
		_, err := m.Renew(ctx, n.ID, csr)
		wantError(t, err, rpcerr.Denied, "node "+string(n.ID)+" does not belong to the cluster (any more)", "")
	})
}

// A certificate that was signed before the authority changed, and would be
// recorded after it, is not given out.
func TestIssueIsFencedByAuthority(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	v := m.view()
	first, _ := consensus.Get[Member](v, nodesTable, "id", string(m.self.ID))
	_, row, err := m.sign(v, first, newJoiner(t, m.self).csr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.RotateCA(ctx, everyone, everyone, func(string) {}); err != nil {
		t.Fatal(err)
	}
	_, err = cmdIssued.Propose(ctx, m.cons, row)
	wantError(t, err, rpcerr.Conflict, "the authority was replaced while it signed", "ask again")
}

func TestRenewOffline(t *testing.T) {
	m, made := first(t, "")
	a, err := m.assignment(m.view(), m.self.ID)
	if err != nil {
		t.Fatal(err)
	}
	csr := newJoiner(t, m.self).csr
	months := m.time.Now().Add(200 * 24 * time.Hour)
	for name, from := range map[string]Assignment{"of Raft": a, "of init": must(FirstAssignment(made))} {
		text, err := RenewOffline(from, made.Ring, csr, months)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		cert := parse(t, text)
		if !slices.Contains(cert.DNSNames, pki.ConsulServerName) || cert.NotAfter.Sub(months) != 30*24*time.Hour {
			t.Errorf("%s: %v until %s", name, cert.DNSNames, cert.NotAfter)
		}
		if ca := parse(t, made.Authorities); cert.CheckSignatureFrom(ca) != nil {
			t.Errorf("%s: not signed by the cluster's authority", name)
		}
	}
	other, err := seal.NewRing(bytes.NewReader(bytes.Repeat([]byte{7}, 100)), months)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RenewOffline(a, other, csr, months); err == nil {
		t.Error("renewed with another cluster's ring")
	}
	a.Controller = nil
	_, err = RenewOffline(a, made.Ring, csr, months)
	wantError(t, err, rpcerr.Precondition, "only a controller can renew its own certificate", "")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
