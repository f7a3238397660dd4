package agent

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

func TestRoleChangeRefused(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea")
	n1, n2 := g.machines[0], g.machines[1]
	tests := []struct {
		name   string
		change local.RoleChange
		code   string
		want   []string
	}{
		{"remove base", local.RoleChange{Node: "n2", Op: local.RoleRemove, Names: []string{"base"}}, local.CodeRefused, []string{"base role cannot be removed"}},
		{"remove the last controller", local.RoleChange{Op: local.RoleRemove, Names: []string{"controller"}}, local.CodeRefused, []string{"n1 is the last controller", "kato role add controller --node"}},
		{"replace the last controller", local.RoleChange{Op: local.RoleSet, Names: []string{"dea"}}, local.CodeRefused, []string{"n1 is the last controller"}},
		{"remove all of the last controller", local.RoleChange{Op: local.RoleRemove, All: true}, local.CodeRefused, []string{"n1 is the last controller"}},
		{"remove the router of a controller", local.RoleChange{Op: local.RoleRemove, Names: []string{"router"}}, local.CodeRefused, []string{"a controller node always runs a router"}},
		{"all but the router", local.RoleChange{Node: "n2", Op: local.RoleAdd, AllBut: []string{"router"}}, local.CodeRefused, []string{"always runs a router"}},
		{"unknown role", local.RoleChange{Op: local.RoleAdd, Names: []string{"dea", "postgres"}}, local.CodeNotFound, []string{`unknown role or group "postgres"`, `did you mean "postgresql"?`}},
		{"unknown group", local.RoleChange{Op: local.RoleAdd, Names: []string{"data-service"}}, local.CodeNotFound, []string{`did you mean "data-services"?`}},
		{"unknown role to keep", local.RoleChange{Op: local.RoleRemove, AllBut: []string{"roter"}}, local.CodeNotFound, []string{`did you mean "router"?`}},
		{"primary", local.RoleChange{Node: "n2", Op: local.RoleAdd, Names: []string{"primary"}}, local.CodeNotFound, []string{"it is elected", "controller role"}},
		{"load_balancer beside others", local.RoleChange{Node: "n2", Op: local.RoleAdd, Names: []string{"load_balancer"}}, local.CodeRefused, []string{"load_balancer excludes every other role", "dea"}},
		{"load_balancer on the controller", local.RoleChange{Op: local.RoleSet, Names: []string{"load_balancer", "core"}}, local.CodeRefused, []string{"load_balancer excludes"}},
		{"unknown node", local.RoleChange{Node: "n7", Op: local.RoleAdd, Names: []string{"dea"}}, local.CodeNotFound, []string{`no node "n7"`, "kato node list"}},
		{"nothing named", local.RoleChange{Op: local.RoleAdd}, local.CodeInvalid, []string{"role names, --all, or --all-but"}},
	}
	before := n1.state()
	files := n2.files()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := n1.ChangeRoles(n1.ctx(), tt.change, nil)
			wantError(t, err, tt.code, tt.want...)
			if diff := cmp.Diff(before, n1.state()); diff != "" {
				t.Errorf("the cluster changed:\n%s", diff)
			}
			if diff := cmp.Diff(files, n2.files()); diff != "" {
				t.Errorf("n2 changed:\n%s", diff)
			}
		})
	}
}

func TestLastTwoControllersRemovedAtOnce(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller")
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, m := range g.machines {
		ctx := m.ctx()
		wg.Go(func() {
			_, errs[i] = m.ChangeRoles(ctx, local.RoleChange{Op: local.RoleSet, Names: []string{"dea"}}, nil)
		})
	}
	wg.Wait()
	refused := errs[0]
	if refused == nil {
		refused = errs[1]
	}
	if errs[0] != nil && errs[1] != nil {
		t.Fatalf("both were refused: %v, %v", errs[0], errs[1])
	}
	wantError(t, refused, local.CodeRefused, "is the last controller")
	eventually(t, "one controller is left", func() error {
		left := 0
		for _, m := range g.machines {
			if r := m.node(); r == nil || r.dir.get().Self.Roles.Has(node.Controller) {
				left++
			}
		}
		if left != 1 {
			return fmt.Errorf("%d are", left)
		}
		return nil
	})
	g.settle()
}

func TestCustomGroups(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea")
	n1 := g.machines[0]
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(n1.cfg.RoleGroups, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := n1.state()
	for text, want := range map[string][]string{
		"edge: [router]\nstore: [mysql, radis]\n": {n1.cfg.RoleGroups, `line 2: group "store"`, `unknown role or group "radis"`, `did you mean "redis"?`, "nothing was changed"},
		"dea: [router]\n":                         {n1.cfg.RoleGroups, `line 1: group "dea" has the name of a role`},
		"edge: [router\n":                         {n1.cfg.RoleGroups, "line 1"},
		"edge: router\n":                          {n1.cfg.RoleGroups, `line 1: group "edge" wants a list`},
	} {
		write(text)
		_, err := n1.ChangeRoles(n1.ctx(), local.RoleChange{Node: "n2", Op: local.RoleAdd, Names: []string{"harbor"}}, nil)
		wantError(t, err, local.CodeRefused, want...)
		_, err = n1.Groups(n1.ctx())
		wantError(t, err, local.CodeRefused, want...)
		_, err = n1.TokenCreate(n1.ctx(), local.TokenCreateRequest{Roles: []string{"edge"}})
		wantError(t, err, local.CodeRefused, want...)
		if diff := cmp.Diff(before, n1.state()); diff != "" {
			t.Errorf("the cluster changed:\n%s", diff)
		}
	}
	write("edge: [router, harbor]\nstore:\n  - data-services\n")
	if _, err := n1.ChangeRoles(n1.ctx(), local.RoleChange{Node: "n2", Op: local.RoleSet, Names: []string{"edge", "redis"}}, nil); err != nil {
		t.Fatal(err)
	}
	g.wantRoles("n2", "base,router,harbor,redis")
	_, err := n1.ChangeRoles(n1.ctx(), local.RoleChange{Node: "n2", Op: local.RoleAdd, Names: []string{"stoer"}}, nil)
	wantError(t, err, local.CodeNotFound, `did you mean "store"?`)
	n3 := newMachine(t, "n3")
	n3.cfg.RoleGroups = n1.cfg.RoleGroups
	n3.start()
	token := n1.token(local.TokenCreateRequest{Roles: []string{"edge"}})
	if err := n3.tryJoin(local.JoinRequest{Primaries: []string{n1.rpc()}, Token: token, Roles: []string{"edge"}}); err != nil {
		t.Fatal(err)
	}
	g.machines = append(g.machines, n3)
	g.wantRoles("n3", "base,router,harbor")
}

func TestSettingsRefused(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea")
	n1, n2 := g.machines[0], g.machines[1]
	set := func(m *machine, key, value string) error {
		_, err := m.ConfigSet(m.ctx(), local.ConfigSetRequest{Key: key, Value: []byte(value)})
		return err
	}
	if err := set(n1, "app/limit", "3"); err != nil {
		t.Fatal(err)
	}
	before := n1.state()
	wantError(t, set(n1, "app/limit", `"three"`), local.CodeRefused, "app/limit is a number, the new value is a string", "--force")
	wantError(t, set(n1, "cluster/certificate_days", `"x"`), local.CodeRefused, "is a number")
	wantError(t, set(n1, "nope", "1"), local.CodeInvalid, "setting key")
	wantError(t, n1.ConfigDel(n1.ctx(), "app/none"), local.CodeNotFound, `"app/none" is not set`)
	wantError(t, set(n2, "app/limit", "4"), local.CodeForbidden, "only a controller may do this", "run it there")
	wantError(t, n2.ConfigDel(n2.ctx(), "app/limit"), local.CodeForbidden, "only a controller may do this")
	var old uint64
	_, err := n1.ConfigSet(n1.ctx(), local.ConfigSetRequest{Key: "app/limit", Value: []byte("4"), IfVersion: &old})
	wantError(t, err, local.CodeConflict, "version 1, not 0")
	if diff := cmp.Diff(before, n1.state()); diff != "" {
		t.Errorf("a refusal changed the cluster:\n%s", diff)
	}
	if list, err := n2.ConfigList(n2.ctx(), "app"); err != nil || len(list) != 1 {
		t.Errorf("reading on a node that is no controller: %+v, %v", list, err)
	}
}
