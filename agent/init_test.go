package agent

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

func TestUnconfiguredNodeWaits(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "n1").start()
	info, err := m.Info(m.ctx())
	if err != nil || info.Configured || info.Type != local.TypeUnconfigured {
		t.Fatalf("info %+v, %v", info, err)
	}
	_, err = m.Status(m.ctx(), true)
	wantError(t, err, local.CodeUnconfigured, "in no cluster yet", "stackato-agent init", "stackato-agent join")
	_, err = m.TokenCreate(m.ctx(), local.TokenCreateRequest{})
	wantError(t, err, local.CodeUnconfigured, "in no cluster yet")
	if err := m.stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	if diff := cmp.Diff(map[string]string{}, m.files()); diff != "" {
		t.Errorf("waiting left files:\n%s", diff)
	}
}

func TestInit(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "n1").start()
	out := m.initialise("dea")
	if out.Admin == nil || len(out.Admin.Password) < 16 || out.Node != "n1" {
		t.Errorf("init answered %+v", out)
	}
	if len(out.Warnings) != 0 {
		t.Errorf("warnings %q", out.Warnings)
	}
	saved, err := os.ReadFile(out.AdminFile)
	if err != nil || !strings.Contains(string(saved), out.Admin.Password) {
		t.Errorf("%s: %q, %v", out.AdminFile, saved, err)
	}
	if st, err := os.Stat(out.AdminFile); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v, %v", out.AdminFile, st.Mode(), err)
	}
	for _, secret := range []string{"pki/node.key", "pki/sealing.keyring", "assignment.json"} {
		if st, err := os.Stat(m.cfg.path(secret)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", secret, st, err)
		}
	}
	if _, err := os.Stat(m.cfg.foundingFile()); !os.IsNotExist(err) {
		t.Errorf("the founding is still on disk: %v", err)
	}
	info, err := m.Info(m.ctx())
	if err != nil || info.Primary != "n1" || info.Voter != local.VoterPrimary || info.ClusterID != out.ClusterID || info.Type != local.TypeNode {
		t.Errorf("info %+v, %v", info, err)
	}
	if want := node.NewRoleSet(node.Base, node.Controller, node.Router, node.DEA); info.AssignedRoles != want {
		t.Errorf("roles %s, want %s", info.AssignedRoles, want)
	}
	if err := m.Health(m.ctx()); err != nil {
		t.Errorf("health: %v", err)
	}
}

func TestSecondInitRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "n1").start()
	m.initialise()
	other := newMachine(t, "o1").start()
	other.initialise()
	before, files := m.state(), m.files()
	again := func(how string, err error) {
		t.Helper()
		wantError(t, err, local.CodeRefused, `holds the data of node "n1"`, "stackato-agent leave", "stackato-agent reset")
		if diff := cmp.Diff(files, m.files()); diff != "" {
			t.Errorf("%s changed the files:\n%s", how, diff)
		}
	}
	_, err := m.Init(m.ctx(), local.InitRequest{Name: "x"}, nil)
	again("init", err)
	_, err = m.Join(m.ctx(), local.JoinRequest{Primaries: []string{other.rpc()}, Token: other.token(local.TokenCreateRequest{})}, nil)
	again("join", err)
	if diff := cmp.Diff(before, m.state()); diff != "" {
		t.Errorf("the cluster changed:\n%s", diff)
	}
	if tokens, err := other.TokenList(other.ctx()); err != nil || tokens[0].Uses != 1 {
		t.Errorf("the refused join spent a token: %+v, %v", tokens, err)
	}
	m.stop()
	_, err = NewSetup(m.cfg).Init(m.ctx(), local.InitRequest{}, func(local.Step) {})
	if err == nil || !strings.Contains(err.Error(), `holds the data of node "n1"`) {
		t.Errorf("init without the daemon: %v", err)
	}
	// Also when only the state of Raft is left.
	if err := os.Remove(m.cfg.identityFile()); err != nil {
		t.Fatal(err)
	}
	_, err = NewSetup(m.cfg).Init(m.ctx(), local.InitRequest{}, func(local.Step) {})
	if err == nil || !strings.Contains(err.Error(), "holds the state of a cluster") {
		t.Errorf("init over Raft's state: %v", err)
	}
}

func TestSetupWithoutDaemon(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "n1")
	err := Locked(m.cfg, func() error {
		_, err := NewSetup(m.cfg).Init(m.ctx(), local.InitRequest{}, func(local.Step) {})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	m.start()
	g := &group{t: t, machines: []*machine{m}}
	if g.primary() != m {
		t.Fatal("no Primary")
	}
	j := newMachine(t, "n2")
	var token string
	eventually(t, "a token", func() error {
		out, err := m.TokenCreate(m.ctx(), local.TokenCreateRequest{Roles: []string{"dea"}})
		token = out.Secret
		return err
	})
	err = Locked(j.cfg, func() error {
		_, err := NewSetup(j.cfg).Join(j.ctx(), local.JoinRequest{Primaries: []string{m.rpc()}, Token: token, Roles: []string{"dea"}}, func(local.Step) {})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	j.start()
	g.machines = append(g.machines, j)
	g.settle()
}

func TestRestartKeepsIdentity(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "n1").start()
	out := m.initialise()
	if _, err := m.ConfigSet(m.ctx(), local.ConfigSetRequest{Key: "app/key", Value: []byte(`"kept"`)}); err != nil {
		t.Fatal(err)
	}
	id, before := m.id(), m.tokens()
	if err := m.stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	// A name and address in the configuration are for init and join only.
	m.cfg.Name = "other"
	m.start()
	g := &group{t: t, machines: []*machine{m}}
	g.primary()
	info, err := m.Info(m.ctx())
	if err != nil || info.ID != id || info.ClusterID != out.ClusterID || info.Name != "n1" {
		t.Errorf("info %+v, %v", info, err)
	}
	list, err := m.ConfigList(m.ctx(), "app")
	if err != nil || len(list) != 1 || string(list[0].Value) != `"kept"` {
		t.Errorf("settings %+v, %v", list, err)
	}
	// The agent ended between making the tokens and giving them to Consul and
	// Nomad, which do not run here: it goes on with the same ones.
	if after := m.tokens(); after != before {
		t.Error("the tokens for Consul and Nomad are others after the restart")
	}
}

// tokens returns the management tokens of Consul and Nomad, once the state
// holds them.
func (m *machine) tokens() (out [2]string) {
	m.t.Helper()
	eventually(m.t, "the tokens of "+m.name, func() (err error) {
		r := m.node()
		if r == nil || r.controller() == nil {
			return errors.New("no controller runs")
		}
		out[0], out[1], err = r.controller().ManagementTokens()
		if err == nil && (out[0] == "" || out[1] == "" || out[0] == out[1]) {
			err = errors.New("there are not two")
		}
		return err
	})
	return out
}

func TestTwoAgentsOnOneDataDir(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "n1").start()
	m.initialise()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	second := m.cfg
	second.Ports.HTTP = freePort(t, "127.0.0.1")
	err := New(second, m.log, nil).Run(ctx)
	if err == nil || !strings.Contains(err.Error(), m.cfg.DataDir+" is in use by another stackato-agent") {
		t.Errorf("Run = %v", err)
	}
	err = Locked(m.cfg, func() error { t.Error("Locked ran beside an agent"); return nil })
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("Locked = %v", err)
	}
	if _, err := m.Status(m.ctx(), false); err != nil {
		t.Errorf("the first agent suffered: %v", err)
	}
}
