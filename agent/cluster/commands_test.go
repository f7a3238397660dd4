package cluster

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

func TestFoundTwice(t *testing.T) {
	m, made := first(t, "")
	again := made.Founding
	again.Member.Name = "changed"
	m.unchanged(func() {
		// Another request: the first one's answer is not remembered for ever.
		if _, err := cmdFound.Propose(testContext(t), m.cons, again); err != nil {
			t.Errorf("the same cluster again: %v", err)
		}
		other := made.Founding
		other.Record.ClusterID = "another"
		err := m.Found(testContext(t), other)
		wantError(t, err, rpcerr.Conflict, "the cluster is founded already, as "+made.Founding.Record.ClusterID, "")
	})
}

func TestSetRoles(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	dea := node.NewRoleSet(node.Base, node.DEA)
	secret := m.token(dea.With(node.NewRoleSet(node.Redis)), 1)
	n := testNode("second", 2, node.DEA)
	if _, err := m.Join(ctx, newJoiner(t, n).request(secret, m.time.Now())); err != nil {
		t.Fatal(err)
	}
	boss := Caller{ID: m.self.ID, Controller: true}
	itself := Caller{ID: n.ID}
	core := m.self.Roles
	const lastHint = "give another node the controller role first: kato role add controller --node NAME"
	for _, tt := range []struct {
		name          string
		by            Caller
		r             RoleRequest
		code          rpcerr.Code
		message, hint string
	}{
		{"no such node", boss, RoleRequest{Node: "x", Roles: dea}, rpcerr.NotFound, `no node "x"`, "see: kato node list"},
		{"changed meanwhile", boss, RoleRequest{Node: n.ID, Roles: dea, Generation: 7}, rpcerr.Conflict, "the roles of second were changed meanwhile", "look at them and try again"},
		{"the last controller", boss, RoleRequest{Node: "first", Roles: dea, Generation: 1}, rpcerr.Precondition, "first is the last controller: it cannot be removed", lastHint},
		{
			"base", boss,
			RoleRequest{Node: n.ID, Roles: node.NewRoleSet(node.DEA), Generation: 1},
			rpcerr.Precondition,
			"the base role cannot be removed: every node has it; to take the node out of the cluster use: kato node remove", "",
		},
		{
			"another's, without the role", itself,
			RoleRequest{Node: m.self.ID, Roles: core.With(dea), Generation: 1},
			rpcerr.Denied,
			"only a controller may change the roles of another node", "run the command on a controller",
		},
		{
			"beyond the token", itself,
			RoleRequest{Node: n.ID, Roles: dea.With(node.NewRoleSet(node.MySQL)), Generation: 1},
			rpcerr.Denied,
			"this node's join token did not allow the role mysql", "run the command on a controller: kato role add mysql --node second",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m.unchanged(func() {
				_, err := m.SetRoles(ctx, tt.by, tt.r)
				wantError(t, err, tt.code, tt.message, tt.hint)
			})
		})
	}
	err := node.CheckRoles(node.NewRoleSet(node.Base, node.Controller))
	_, got := m.SetRoles(ctx, boss, RoleRequest{Node: n.ID, Roles: node.NewRoleSet(node.Base, node.Controller), Generation: 1})
	wantError(t, got, rpcerr.Precondition, err.Error(), "")

	redis := dea.With(node.NewRoleSet(node.Redis))
	stopped := node.NewRoleSet(node.Redis, node.MySQL)
	out, err := m.SetRoles(ctx, itself, RoleRequest{Node: n.ID, Roles: redis, Generation: 1, Stopped: &stopped})
	if err != nil || out.Roles != redis || out.Generation != 2 || out.StoppedRoles != node.NewRoleSet(node.Redis) {
		t.Fatalf("%+v, %v", out, err)
	}
	// A role that goes is not stopped any more; what a controller gave may stay.
	mysql := dea.With(node.NewRoleSet(node.MySQL))
	if out, err = m.SetRoles(ctx, boss, RoleRequest{Node: n.ID, Roles: mysql, Generation: 2}); err != nil || out.StoppedRoles != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err = m.SetRoles(ctx, itself, RoleRequest{Node: n.ID, Roles: mysql.Without(node.NewRoleSet(node.DEA)), Generation: 3}); err != nil {
		t.Fatal(err)
	}
}

// A controller that leaves does not count as one that stays.
func TestLastController(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	boss := Caller{ID: m.self.ID, Controller: true}
	second := testNode("second", 2, node.Controller, node.Router)
	m.admitted(second)
	if _, err := m.RemoveNode(ctx, boss, RemoveRequest{Node: "second", Begin: true}); err != nil {
		t.Fatal(err)
	}
	const hint = "give another node the controller role first: kato role add controller --node NAME"
	m.unchanged(func() {
		for _, begin := range []bool{true, false} {
			_, err := m.RemoveNode(ctx, boss, RemoveRequest{Node: "first", Begin: begin})
			wantError(t, err, rpcerr.Precondition, "first is the last controller: it cannot be removed", hint)
		}
		_, err := m.SetRoles(ctx, boss, RoleRequest{Node: "first", Roles: node.NewRoleSet(node.Base), Generation: 1})
		wantError(t, err, rpcerr.Precondition, "first is the last controller: it cannot be removed", hint)
		// The rule stands in the commands themselves, not only before them.
		yes := true
		_, err = cmdNodeUpdate.Propose(ctx, m.cons, nodeUpdate{ID: m.self.ID, Leaving: &yes})
		wantError(t, err, rpcerr.Precondition, "first is the last controller: it cannot be removed", hint)
		_, err = cmdNodeRemove.Propose(ctx, m.cons, removeInput{ID: m.self.ID})
		wantError(t, err, rpcerr.Precondition, "first is the last controller: it cannot be removed", hint)
	})
	if _, err := m.RemoveNode(ctx, boss, RemoveRequest{Node: "second"}); err != nil {
		t.Fatal(err) // it is leaving, so it is not asked whether it is up
	}
	if _, err := m.RemoveNode(ctx, boss, RemoveRequest{Node: "first", Force: true}); err != nil {
		t.Fatal(err)
	}
}

func TestRemoveNode(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	boss := Caller{ID: m.self.ID, Controller: true}
	dea := testNode("dea", 2, node.DEA)
	other := testNode("other", 3, node.Controller, node.Router)
	m.admitted(dea)
	m.admitted(other)
	m.net.setDown(other.ID, m.time.Now())
	m.unchanged(func() {
		for _, tt := range []struct {
			by            Caller
			r             RemoveRequest
			code          rpcerr.Code
			message, hint string
		}{
			{boss, RemoveRequest{Node: "x"}, rpcerr.NotFound, `no node "x"`, "see: kato node list"},
			{Caller{ID: dea.ID}, RemoveRequest{Node: "other"}, rpcerr.Denied, "only a controller may remove another node", "run the command on a controller"},
			{boss, RemoveRequest{Node: "dea"}, rpcerr.Precondition, "node dea is up", `run "stackato-agent leave" there, or give --force`},
			{
				boss,
				RemoveRequest{Node: "first", Begin: true},
				rpcerr.Precondition, "no other controller is up: without first nobody could lead",
				"start another controller first, or give --force if they are gone for good",
			},
			{
				boss,
				RemoveRequest{Node: "first"},
				rpcerr.Precondition,
				"only 0 of the 1 voters would be up without first: the cluster could not go on",
				`run "stackato-agent leave" on it, which hands over its vote first, or start another controller`,
			},
		} {
			_, err := m.RemoveNode(ctx, tt.by, tt.r)
			wantError(t, err, tt.code, tt.message, tt.hint)
		}
	})
	// One that is down goes at once, with all that is its own.
	if _, err := m.RemoveNode(ctx, boss, RemoveRequest{Node: "other"}); err != nil {
		t.Fatal(err)
	}
	// By its address, and by itself.
	if _, err := m.RemoveNode(ctx, Caller{ID: dea.ID}, RemoveRequest{Node: dea.Address}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []node.Node{dea, other} {
		if rows := m.rows(); strings.Contains(rows, string(n.ID)) {
			t.Errorf("something of %s is left:\n%s", n.Name, rows)
		}
	}
	// The name and address are free again.
	dea.ID = node.NewID()
	m.admitted(dea)
}

func TestUpdateNode(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	n := testNode("dea", 2, node.DEA)
	m.admitted(n)
	itself := Caller{ID: n.ID}
	bad, zone, version, long := "a b", "eu-1", "1.5.0", strings.Repeat("9", 65)
	many := make([]string, maxPlacementZones+1)
	for i := range many {
		many[i] = fmt.Sprintf("z%d", i)
	}
	stopped := node.NewRoleSet(node.DEA, node.Redis)
	m.unchanged(func() {
		for _, tt := range []struct {
			by            Caller
			u             NodeUpdate
			code          rpcerr.Code
			message, hint string
		}{
			{itself, NodeUpdate{Node: m.self.ID, Zone: &zone}, rpcerr.Denied, "only a controller may change another node", "run the command on a controller"},
			{itself, NodeUpdate{Node: n.ID, Zone: &bad}, rpcerr.Invalid, `zone "a b": use 1 to 63 of a-z, A-Z, 0-9, '-', '_' and '.'`, ""},
			{itself, NodeUpdate{Node: n.ID, AddPlacement: []string{""}}, rpcerr.Invalid, `zone "": use 1 to 63 of a-z, A-Z, 0-9, '-', '_' and '.'`, ""},
			{itself, NodeUpdate{Node: n.ID, AddPlacement: many}, rpcerr.Exhausted, "a node has at most 64 placement zones", ""},
			{itself, NodeUpdate{Node: n.ID, Version: &long}, rpcerr.Invalid, "the version has 65 bytes, at most 64 are kept", ""},
			{Caller{Controller: true}, NodeUpdate{Node: "x", Zone: &zone}, rpcerr.NotFound, "no such node", ""},
			{Caller{Controller: true}, NodeUpdate{Node: "x", Capabilities: consensus.Capabilities{"a": 1}}, rpcerr.NotFound, `no node "x"`, "see: kato node list"},
		} {
			_, err := m.UpdateNode(ctx, tt.by, tt.u)
			wantError(t, err, tt.code, tt.message, tt.hint)
		}
	})
	out, err := m.UpdateNode(ctx, itself, NodeUpdate{
		Node: n.ID, Zone: &zone, Version: &version, Stopped: &stopped,
		AddPlacement: []string{"gpu", "ssd", "gpu"}, Capabilities: consensus.Capabilities{"not a controller": 1},
	})
	if err != nil || out.Zone != zone || out.Version != version || out.StoppedRoles != node.NewRoleSet(node.DEA) || !slices.Equal(out.PlacementZones, []string{"gpu", "ssd"}) {
		t.Fatalf("%+v, %v", out, err)
	}
	if out, err = m.UpdateNode(ctx, itself, NodeUpdate{Node: n.ID, AddPlacement: []string{"x"}, DelPlacement: []string{"gpu", "x", "none"}}); err != nil || !slices.Equal(out.PlacementZones, []string{"ssd"}) {
		t.Fatalf("%+v, %v", out, err)
	}
	if out.Generation != 1 {
		t.Errorf("generation %d: it is that of the roles", out.Generation)
	}
}

func TestSettings(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	zero, one, nine := uint64(0), uint64(1), uint64(9)
	for _, tt := range []struct {
		name, key, value string
		force            bool
		ifVersion        *uint64
		code             rpcerr.Code
		message, hint    string
	}{
		{"one part", "a", "1", false, nil, rpcerr.Invalid, `setting key "a": use parts of a-z, 0-9, '_', '.' and '-' joined by '/', at least two`, ""},
		{"nine parts", "a/b/c/d/e/f/g/h/i", "1", false, nil, rpcerr.Invalid, `setting key "a/b/c/d/e/f/g/h/i": use parts of a-z, 0-9, '_', '.' and '-' joined by '/', at least two`, ""},
		{"an empty part", "a//b", "1", false, nil, rpcerr.Invalid, `setting key "a//b": use parts of a-z, 0-9, '_', '.' and '-' joined by '/', at least two`, ""},
		{"upwards", "a/../b", "1", false, nil, rpcerr.Invalid, `setting key "a/../b": use parts of a-z, 0-9, '_', '.' and '-' joined by '/', at least two`, ""},
		{"upper case", "A/b", "1", false, nil, rpcerr.Invalid, `setting key "A/b": use parts of a-z, 0-9, '_', '.' and '-' joined by '/', at least two`, ""},
		{"no key", "", "1", false, nil, rpcerr.Invalid, `setting key "": use parts of a-z, 0-9, '_', '.' and '-' joined by '/', at least two`, ""},
		{"new", "app/limit", "1", false, &zero, "", "", ""},
		{"exists", "app/limit", "2", false, &zero, rpcerr.Conflict, "app/limit has version 1, not 0", "read it again"},
		{"changed", "app/limit", "2", false, &nine, rpcerr.Conflict, "app/limit has version 1, not 9", "read it again"},
		{"another type", "app/limit", `"x"`, false, nil, rpcerr.Precondition, "app/limit is a number, the new value is a string", "give --force to change the type"},
		{"by force", "app/limit", `"x"`, true, &one, "", "", ""},
		{"the same type", "app/limit", `"y"`, false, nil, "", "", ""},
		{"too long", "app/limit", `"` + strings.Repeat("x", maxSettingValue) + `"`, false, nil, rpcerr.Exhausted, "the value has 65538 bytes, at most 65536 are kept", ""},
		{"known, of another type", voterGrace, `"x"`, false, nil, rpcerr.Precondition, voterGrace + " is a number, the new value is a string", "give --force to change the type"},
		{"known, too large", certificateDays, "366", false, nil, rpcerr.Invalid, certificateDays + " is a whole number from 1 to 365, not 366", ""},
		{"known, too small, by force", certificateDays, "0", true, nil, rpcerr.Invalid, certificateDays + " is a whole number from 1 to 365, not 0", ""},
		{"known, not whole", certificateDays, "1.5", false, nil, rpcerr.Invalid, certificateDays + " is a whole number from 1 to 365, not 1.5", ""},
		{"known", certificateDays, "365", false, nil, "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.code == "" {
				if s, err := m.PutSetting(ctx, tt.key, []byte(tt.value), tt.force, tt.ifVersion); err != nil || string(s.Value) != tt.value || !s.Modified.Equal(m.time.Now()) {
					t.Errorf("%+v, %v", s, err)
				}
				return
			}
			m.unchanged(func() {
				_, err := m.PutSetting(ctx, tt.key, []byte(tt.value), tt.force, tt.ifVersion)
				wantError(t, err, tt.code, tt.message, tt.hint)
			})
		})
	}
	list, err := m.ListSettings(ctx, "app")
	if err != nil || len(list) != 1 || list[0].Version != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := m.DelSetting(ctx, certificateDays); err != nil {
		t.Error(err)
	}
	if got := intSetting(m.view(), certificateDays); got != 30 {
		t.Errorf("default of %s: %d", certificateDays, got)
	}
	wantError(t, m.DelSetting(ctx, certificateDays), rpcerr.NotFound, `"`+certificateDays+`" is not set`, "see: kato config get")
	// Begins anew: a version never means two values of different times by accident.
	if s, err := m.PutSetting(ctx, certificateDays, []byte("5"), false, &zero); err != nil || s.Version != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSettingsAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("writes thousands of settings")
	}
	m := single(t)
	ctx := testContext(t)
	inParallel(maxSettings, func(i int) {
		if _, err := cmdSettingPut.Propose(ctx, m.cons, settingInput{Key: fmt.Sprintf("a/%d", i), Value: json.RawMessage("1")}); err != nil {
			t.Error(err)
		}
	})
	_, err := m.PutSetting(ctx, "b/1", []byte("1"), false, nil)
	wantError(t, err, rpcerr.Exhausted, "there are 4096 settings already", "")
	if _, err := m.PutSetting(ctx, "a/1", []byte("2"), false, nil); err != nil {
		t.Errorf("one that is there already: %v", err)
	}
}

func TestBelow(t *testing.T) {
	for _, tt := range []struct {
		key, prefix string
		want        bool
	}{{"a/b", "", true}, {"a/b", "a", true}, {"a/b", "a/", true}, {"a/b", "a/b", true}, {"ab/c", "a", false}, {"a/bc", "a/b", false}} {
		if Below(tt.key, tt.prefix) != tt.want {
			t.Errorf("Below(%q, %q) = %v", tt.key, tt.prefix, !tt.want)
		}
	}
}

func TestJSONType(t *testing.T) {
	for v, want := range map[string]string{` "x"`: "string", "{}": "object", "[1]": "array", "true": "boolean", "false": "boolean", "null": "null", "-1.5e3": "number", "": ""} {
		if got := JSONType(json.RawMessage(v)); got != want {
			t.Errorf("JSONType(%s) = %q, want %q", v, got, want)
		}
	}
}

func TestAuthorityCommands(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	active := Authorities(m.view(), "cluster")[0]
	next := Authority{Digest: "sha256:next", Kind: "cluster", CertPEM: active.CertPEM, CreatedAt: m.time.Now(), Active: true}
	key := Secret{ID: authoritySecret(next.Digest), Sealed: []byte("x")}
	do := func(in authorityInput) error {
		_, err := cmdAuthority.Propose(ctx, m.cons, in)
		return err
	}
	m.unchanged(func() {
		wantError(t, do(authorityInput{Trust: &next}), rpcerr.Invalid, "an authority needs its key", "")
		wantError(t, do(authorityInput{Activate: "sha256:next"}), rpcerr.NotFound, "no authority sha256:next", "")
		wantError(t, do(authorityInput{Drop: active.Digest}), rpcerr.Precondition, "the active authority cannot be dropped", "")
		if err := do(authorityInput{Drop: "sha256:next"}); err != nil {
			t.Errorf("dropped before: %v", err)
		}
	})
	signs := func() string {
		var out []string
		for _, a := range Authorities(m.view(), "cluster") {
			if a.Active {
				out = append(out, a.Digest)
			}
		}
		return strings.Join(out, " ")
	}
	if err := do(authorityInput{Trust: &next, Secret: &key}); err != nil || signs() != active.Digest {
		t.Fatalf("trusted only, but %q signs: %v", signs(), err)
	}
	if err := do(authorityInput{Activate: next.Digest}); err != nil || signs() != next.Digest {
		t.Fatalf("%q signs: %v", signs(), err)
	}
	if router := Authorities(m.view(), "router"); len(router) != 1 || !router[0].Active {
		t.Errorf("the router's authority: %+v", router)
	}
	if err := do(authorityInput{Drop: active.Digest}); err != nil || strings.Contains(m.rows(), active.Digest) {
		t.Errorf("dropped, but something is left: %v", err)
	}
}

func TestSecretVersions(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	put := func(versions map[string]uint64, secrets ...Secret) error {
		_, err := cmdSecrets.Propose(ctx, m.cons, secretsInput{Secrets: secrets, Versions: versions})
		return err
	}
	a, b := Secret{ID: "x/a", Sealed: []byte("1"), Version: 77}, Secret{ID: "x/b", Sealed: []byte("2")}
	if err := put(map[string]uint64{"x/a": 0}, a); err != nil {
		t.Fatal(err)
	}
	m.unchanged(func() { // all or nothing
		wantError(t, put(map[string]uint64{"x/a": 0}, b, a), rpcerr.Conflict, "the secret x/a was changed meanwhile", "")
		wantError(t, put(map[string]uint64{"x/b": 1}, a, b), rpcerr.Conflict, "the secret x/b was changed meanwhile", "")
	})
	if err := put(map[string]uint64{"x/a": 1}, a, b); err != nil {
		t.Fatal(err)
	}
	if s, _ := consensus.Get[Secret](m.view(), secretsTable, "id", "x/a"); s.Version != 2 {
		t.Errorf("version %d: what the proposer says does not count", s.Version)
	}
}

// TestDeterminism: the same commands on two clusters make the same rows, also
// those that are refused, and a log that is read again makes them a third time.
func TestDeterminism(t *testing.T) {
	dir := t.TempDir()
	one, made := first(t, dir)
	two, _ := first(t, "")
	ctx := testContext(t)
	names := []node.ID{node.NewID(), node.NewID(), node.NewID()}
	both := func(typ string, in any) {
		t.Helper()
		data, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var got [2]string
		for i, m := range []*member{one, two} {
			out, err := m.cons.Propose(ctx, consensus.Proposal{Type: typ, Version: 1, Data: data})
			got[i] = string(out)
			if err != nil {
				e := rpcerr.From(err)
				got[i] = fmt.Sprintln(e.ErrCode, e.Message, e.ErrHint)
			}
		}
		if got[0] != got[1] {
			t.Fatalf("%s %s: %s and %s", typ, data, got[0], got[1])
		}
	}
	// Tables that the founding filled differ: compare the others.
	rows := func(m *member) string {
		v := m.view()
		nodes := slices.DeleteFunc(Members(v), func(n Member) bool { return n.Name == "first" })
		out, err := json.Marshal([]any{Tokens(v), Settings(v), nodes})
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	now := time.Unix(1_800_000_000, 0).UTC()
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.SampledFrom(names).Draw(t, "node")
		secret := rapid.SampledFrom([]string{"h1", "h2"}).Draw(t, "secret")
		token := rapid.SampledFrom([]string{"t1", "t2", "t3"}).Draw(t, "token")
		roles := rapid.SampledFrom([]node.RoleSet{node.NewRoleSet(node.Base), node.NewRoleSet(node.Base, node.DEA), node.NewRoleSet(node.Controller)}).Draw(t, "roles")
		now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "time passes")))
		switch rapid.IntRange(0, 7).Draw(t, "command") {
		case 0:
			both("cluster.token_put", Token{ID: token, SecretHash: secret, Roles: node.AllRoles(), Uses: 2, CreatedAt: now, ExpiresAt: now.Add(5 * time.Minute)})
		case 1:
			m := Member{Node: node.Node{ID: id, Name: "n" + string(id[:4]), Address: "10.9.9." + secret[1:], RPCPort: 1, GossipPort: 2, Roles: roles, Generation: 1}, JoinToken: token}
			both("cluster.join", joinInput{TokenID: token, SecretHash: secret, Now: now, Member: m, Secrets: []Secret{{ID: consulNodeSecret(id), Sealed: []byte(secret)}}})
		case 2:
			both("cluster.roles", rolesInput{ID: id, Roles: roles, Generation: rapid.Uint64Range(1, 3).Draw(t, "generation")})
		case 3:
			both("cluster.node_update", nodeUpdate{ID: id, AddPlacement: []string{"b", "a"}, DelPlacement: []string{secret}})
		case 4:
			both("cluster.node_remove", removeInput{ID: id})
		case 5:
			both("cluster.token_revoke", tokenRevoke{ID: token, Now: now})
		case 6:
			both("cluster.token_sweep", tokenSweep{Before: now.Add(-time.Minute)})
		case 7:
			both("cluster.setting_put", settingInput{Key: "a/" + token, Value: json.RawMessage(rapid.SampledFrom([]string{"1", `"x"`, "[]"}).Draw(t, "value")), Now: now})
		}
		if diff := cmp.Diff(rows(one), rows(two)); diff != "" {
			t.Fatal(diff)
		}
	})
	before := one.rows()
	one.stop()
	again := startMember(t, newNet(), one.time, one.self, dir, made)
	eventually(t, "it leads again", func() bool { return again.cons.LeadTerm() > 0 })
	if diff := cmp.Diff(before, again.rows()); diff != "" {
		t.Errorf("the log read again makes other rows:\n%s", diff)
	}
}

// A leave that could not be finished is taken back: the node counts again.
func TestLeaveIsTakenBack(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	second := testNode("second", 2, node.Controller, node.Router)
	m.admitted(second)
	self := Caller{ID: second.ID}
	for _, r := range []RemoveRequest{{Node: "second", Begin: true}, {Node: "second", Cancel: true}} {
		n, err := m.RemoveNode(ctx, self, r)
		if err != nil || n.Leaving != r.Begin {
			t.Fatalf("%+v: leaving %v, %v", r, n.Leaving, err)
		}
	}
	// Controllers that stay count: the first may go now.
	yes := true
	if _, err := cmdNodeUpdate.Propose(ctx, m.cons, nodeUpdate{ID: m.self.ID, Leaving: &yes}); err != nil {
		t.Fatal(err)
	}
}
