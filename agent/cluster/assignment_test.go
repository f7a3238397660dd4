package cluster

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// TestAssignmentHoldsOnlyItsOwn: what a node gets, searched for every secret
// of the cluster.
func TestAssignmentHoldsOnlyItsOwn(t *testing.T) {
	m := single(t)
	dea, other := testNode("dea", 2, node.DEA), testNode("other", 3, node.Router)
	ctrl := testNode("ctrl", 4, node.Controller, node.Router)
	ring := map[node.ID][]byte{}
	for _, n := range []node.Node{dea, other, ctrl} {
		ring[n.ID] = m.admitted(n).Ring
	}
	common := []string{gossipKeysSecret, consulGossipSecret}
	for _, tt := range []struct {
		n    node.Node
		want []string
	}{
		{dea, append([]string{consulNodeSecret(dea.ID)}, common...)},
		{other, append([]string{consulNodeSecret(other.ID)}, common...)},
		{ctrl, append([]string{consulNodeSecret(ctrl.ID), consulManagementSecret, nomadGossipSecret}, common...)},
	} {
		a, err := m.assignment(m.view(), tt.n.ID)
		if err != nil {
			t.Fatal(err)
		}
		text := string(must(json.Marshal(a)))
		var got []string
		for _, s := range consensus.List[Secret](m.view(), secretsTable, "id") {
			plain := must(m.ring.Open(s.Sealed, []byte(s.ID)))
			forms := []string{string(plain), base64.StdEncoding.EncodeToString(plain)}
			var keys [][]byte
			if s.ID == gossipKeysSecret && json.Unmarshal(plain, &keys) == nil {
				forms = []string{base64.StdEncoding.EncodeToString(keys[0])}
			}
			if slices.ContainsFunc(forms, func(f string) bool { return strings.Contains(text, f) }) {
				got = append(got, s.ID)
			}
		}
		slices.Sort(tt.want)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("secrets of %s:\n%s", tt.n.Name, diff)
		}
		isController := tt.n.ID == ctrl.ID
		if (a.Controller != nil) != isController || strings.Contains(text, "authority_key") != isController || (ring[tt.n.ID] != nil) != isController {
			t.Errorf("%s: what only controllers get: %s", tt.n.Name, text)
		}
		if strings.Contains(text, "key_digest") || strings.Contains(text, "argon2") {
			t.Errorf("%s gets rows that are nobody's business", tt.n.Name)
		}
	}
}

func TestAssignmentSaysWhoIsWho(t *testing.T) {
	m, made := first(t, "")
	ctrl := testNode("ctrl", 2, node.Controller, node.Router)
	m.admitted(ctrl)
	m.admitted(testNode("dea", 3, node.DEA))
	a, err := m.assignment(m.view(), m.self.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !a.IsVoter() || a.Founder != m.self.ID || a.ClusterID != made.Founding.Record.ClusterID || a.CertDays != 30 || a.Index == 0 {
		t.Errorf("%v", a)
	}
	if got := a.Controllers(); len(got) != 2 || got[0].ID != m.self.ID || got[1].ID != ctrl.ID {
		t.Errorf("controllers, voters first: %v", got)
	}
	if _, ok := a.Find(ctrl.ID); !ok {
		t.Error("Find")
	}
	// What init writes is what Raft says later, but for the index.
	one := initial(t, made)
	one.Nodes, one.Index, one.Primary = a.Nodes, a.Index, a.Primary
	one.Controller.RingKeys = a.Controller.RingKeys
	if one.Digest() != a.Digest() {
		t.Errorf("the first assignment differs:\n%s", cmp.Diff(one, a))
	}
	b := a
	b.Index++
	if a.Digest() != b.Digest() {
		t.Error("the index counts")
	}
	b.ConsulToken = "x"
	if a.Digest() == b.Digest() {
		t.Error("a secret does not count")
	}
}

func initial(t *testing.T, made *NewCluster) Assignment {
	t.Helper()
	a, err := FirstAssignment(made)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestWatchAssignment(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	n := testNode("dea", 2, node.DEA)
	m.admitted(n)
	start := time.Now()
	a, err := m.WatchAssignment(ctx, n.ID, "", time.Minute)
	if err != nil || a.Self.Name != "dea" || time.Since(start) > 10*time.Second {
		t.Fatalf("news waits: %v, %v", a, err)
	}
	// Without news it waits, and gives what there is.
	if same, err := m.WatchAssignment(ctx, n.ID, a.Digest(), 30*time.Millisecond); err != nil || same.Digest() != a.Digest() {
		t.Fatalf("%v, %v", same, err)
	}
	type result struct {
		a   Assignment
		err error
	}
	watch := func(ctx context.Context, have string) chan result {
		out := make(chan result, 1)
		go func() {
			a, err := m.WatchAssignment(ctx, n.ID, have, time.Minute)
			out <- result{a, err}
		}()
		return out
	}
	// Each kind of change wakes it; what does not concern it does not end the wait.
	for name, change := range map[string]func() error{
		"a role": func() error {
			_, err := m.SetRoles(ctx, Caller{Controller: true}, RoleRequest{Node: n.ID, Roles: n.Roles.With(node.NewRoleSet(node.Redis)), Generation: 1})
			return err
		},
		"a key":        func() error { _, err := m.RotateGossipKey(ctx, everyone, quiet); return err },
		"an authority": func() error { _, err := m.RotateCA(ctx, everyone, everyone, quiet); return err },
		"a voter":      func() error { _, err := cmdVoters.Propose(ctx, m.cons, votersInput{[]node.ID{n.ID}}); return err },
		"the lifetime": func() error { _, err := m.PutSetting(ctx, certificateDays, []byte("9"), false, nil); return err },
		"another node": func() error { m.admitted(testNode("more", 5)); return nil },
	} {
		a, err := m.WatchAssignment(ctx, n.ID, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		news := watch(ctx, a.Digest())
		if _, err := m.PutSetting(ctx, "x/y", []byte(`"`+name+`"`), false, nil); err != nil {
			t.Fatal(err)
		}
		m.token(0, 1)
		select {
		case r := <-news:
			t.Fatalf("%s: woken by what is not in it: %v, %v", name, r.a, r.err)
		case <-time.After(20 * time.Millisecond): // to be wrong it has to come now
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if r := <-news; r.err != nil || r.a.Digest() == a.Digest() || r.a.Index <= a.Index {
			t.Errorf("%s: %v, %v", name, r.a, r.err)
		}
	}
	// The caller goes away.
	gone, cancel := context.WithCancel(ctx)
	a, _ = m.WatchAssignment(ctx, n.ID, "", 0)
	news := watch(gone, a.Digest())
	cancel()
	if r := <-news; !errors.Is(r.err, context.Canceled) {
		t.Errorf("after the caller went: %v", r.err)
	}
	// Removal ends the wait too, with the right words.
	news = watch(ctx, a.Digest())
	if _, err := cmdNodeRemove.Propose(ctx, m.cons, removeInput{ID: n.ID}); err != nil {
		t.Fatal(err)
	}
	r := <-news
	wantError(t, r.err, rpcerr.NotFound, "node "+string(n.ID)+" does not belong to the cluster", "")
}

// Only the nodes table may tell a node that it does not belong: it stops what
// it runs when it hears that.
func TestMissingSecretIsNoRemoval(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	n := testNode("dea", 2, node.DEA)
	m.admitted(n)
	// A secret that this controller's ring cannot open: another one may.
	other := single(t)
	if _, err := cmdSecrets.Propose(ctx, m.cons, secretsInput{Secrets: []Secret{other.sealed(consulNodeSecret(n.ID), []byte("x"))}}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.WatchAssignment(ctx, n.ID, "", time.Second); !errors.Is(err, rpcerr.Unavailable) || !rpcerr.Retryable(err) {
		t.Errorf("sealed with an unknown key: %v", err)
	}
	ghost := Member{Node: testNode("ghost", 9)}
	in := Founding{Record: Record{ID: "cluster", ClusterID: "x"}, Member: ghost, Admin: Admin{Username: "admin"}}
	bare := bareMember(t)
	if _, err := cmdFound.Propose(ctx, bare.cons, in); err != nil {
		t.Fatal(err)
	}
	if _, err := bare.WatchAssignment(ctx, ghost.ID, "", time.Second); err == nil || errors.Is(err, rpcerr.NotFound) {
		t.Errorf("a missing secret: %v", err)
	}
}

// bareMember leads a group in which nothing is founded.
func bareMember(t *testing.T) *member {
	t.Helper()
	start := &clock{now: time.Now()}
	n := testNode("bare", 0, node.Controller, node.Router)
	made, err := Found(n, "stackato.test", false, start.Now())
	if err != nil {
		t.Fatal(err)
	}
	m := startMember(t, newNet(), start, made.Founding.Member.Node, "", made)
	if err := m.cons.Bootstrap(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it leads", func() bool { return m.cons.LeadTerm() > 0 })
	return m
}

// A controller that has not caught up says so, and not that a node does not
// belong.
func TestAssignmentBeforeFounding(t *testing.T) {
	m := bareMember(t)
	_, err := m.WatchAssignment(testContext(t), node.NewID(), "", time.Second)
	wantError(t, err, rpcerr.Unavailable, "this controller has not caught up yet", "")
	if _, err := m.Topology(testContext(t), true); !errors.Is(err, rpcerr.Unavailable) {
		t.Error(err)
	}
	_, err = m.Join(testContext(t), newJoiner(t, testNode("x", 1)).request(JoinSecret{}, m.time.Now()))
	if !errors.Is(err, rpcerr.Denied) {
		t.Error(err)
	}
}
