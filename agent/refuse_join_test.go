package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/rpcerr"
)

// tryJoin joins, and waits when the rate limit says so.
func (m *machine) tryJoin(r local.JoinRequest) error {
	m.t.Helper()
	for {
		_, err := m.Join(m.ctx(), r, nil)
		if err == nil || !strings.Contains(err.Error(), "too many calls") {
			return err
		}
		time.Sleep(500 * time.Millisecond) // what the limit asks for
	}
}

func TestJoinRefused(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "dea")
	n1 := g.machines[0]
	stranger := newMachine(t, "s1").start()
	stranger.initialise()

	used := n1.token(local.TokenCreateRequest{Roles: []string{"dea"}})
	if err := g.addWith(used, "dea"); err != nil {
		t.Fatal(err)
	}
	revoked, err := n1.TokenCreate(n1.ctx(), local.TokenCreateRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if err := n1.TokenRevoke(n1.ctx(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	expired, err := n1.TokenCreate(n1.ctx(), local.TokenCreateRequest{TTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token expires", func() error {
		tokens, err := n1.TokenList(n1.ctx())
		for _, tok := range tokens {
			if tok.ID == expired.ID && !tok.Expired {
				err = errors.New("it is still good")
			}
		}
		return err
	})
	good := n1.token(local.TokenCreateRequest{Roles: []string{"dea"}, Uses: 5})
	parts := strings.Split(good, ".")
	wrong := strings.Join([]string{parts[0], parts[1], strings.Repeat("a", len(parts[2])), parts[3]}, ".")
	unknown := strings.Join([]string{parts[0], "aaaaaaaa", parts[2], parts[3]}, ".")

	newToken := "stackato-agent token create"
	tests := []struct {
		name   string
		change func(m *machine, r *local.JoinRequest)
		code   string
		want   []string
	}{
		{"no token", func(_ *machine, r *local.JoinRequest) { r.Token = "" }, local.CodeInvalid, []string{"no join token", newToken, "--token-file"}},
		{"not a token", func(_ *machine, r *local.JoinRequest) { r.Token = "hunter2" }, local.CodeInvalid, []string{"not a join token", newToken}},
		{"wrong secret", func(_ *machine, r *local.JoinRequest) { r.Token = wrong }, local.CodeForbidden, []string{"token is not known", newToken}},
		{"unknown token", func(_ *machine, r *local.JoinRequest) { r.Token = unknown }, local.CodeForbidden, []string{"token is not known", newToken}},
		{"revoked", func(_ *machine, r *local.JoinRequest) { r.Token = revoked.Secret }, local.CodeForbidden, []string{"has been revoked", newToken}},
		{"expired", func(_ *machine, r *local.JoinRequest) { r.Token = expired.Secret }, local.CodeForbidden, []string{"has expired", newToken}},
		{"used up", func(_ *machine, r *local.JoinRequest) { r.Token = used }, local.CodeForbidden, []string{"is used up", newToken}},
		{"role not allowed", func(_ *machine, r *local.JoinRequest) { r.Roles = []string{"dea", "harbor"} }, local.CodeForbidden, []string{"does not allow the role harbor", newToken + " --roles dea,harbor"}},
		{"controller not allowed", func(_ *machine, r *local.JoinRequest) { r.Roles = []string{"controller"} }, local.CodeForbidden, []string{"does not allow the role controller", newToken}},
		{"wrong CA", func(_ *machine, r *local.JoinRequest) { r.Primaries = []string{stranger.rpc()} }, local.CodeForbidden, []string{"wrong CA digest", "not of the cluster that made the token"}},
		{"name in use", func(_ *machine, r *local.JoinRequest) { r.Name = "n2" }, local.CodeConflict, []string{`name "n2" is in use`, "--name", "kato node remove n2"}},
		{
			"address in use", func(m *machine, _ *local.JoinRequest) {
				m.cfg.Advertise, m.cfg.Ports.RPC = n1.cfg.Advertise, n1.cfg.Ports.RPC
			},
			local.CodeConflict,
			[]string{"address " + n1.cfg.Advertise + ` is in use by node "n1"`, "--advertise"},
		},
		{"clock ahead", func(m *machine, _ *local.JoinRequest) { m.cfg.ClockOffset = 40 * time.Second }, local.CodeRefused, []string{"clock is off by 40s", "at most 30s", "set the clock"}},
		{"clock behind", func(m *machine, _ *local.JoinRequest) { m.cfg.ClockOffset = -40 * time.Second }, local.CodeRefused, []string{"clock is off by -40s", "set the clock"}},
		{"unknown role", func(_ *machine, r *local.JoinRequest) { r.Roles = []string{"dae"} }, local.CodeNotFound, []string{`unknown role or group "dae"`, `did you mean "dea"?`}},
		{"primary as role", func(_ *machine, r *local.JoinRequest) { r.Roles = []string{"primary"} }, local.CodeNotFound, []string{"it is elected"}},
		{"load balancer beside others", func(_ *machine, r *local.JoinRequest) { r.Roles = []string{"load_balancer", "dea"} }, local.CodeRefused, []string{"load_balancer excludes every other role"}},
		{"IPv6 only", func(_ *machine, r *local.JoinRequest) { r.Advertise = "fd00::1" }, local.CodeInvalid, []string{"IPv6-only nodes are not supported yet", "--advertise"}},
		{"bad name", func(_ *machine, r *local.JoinRequest) { r.Name = "Not_A_Label" }, local.CodeInvalid, []string{"not a DNS label", "--name"}},
		{"no controller named", func(_ *machine, r *local.JoinRequest) { r.Primaries = nil }, local.CodeInvalid, []string{"no controller to ask"}},
		{"nobody there", func(_ *machine, r *local.JoinRequest) { r.Primaries = []string{"127.0.1.1:1"} }, local.CodeUnavailable, []string{"controller 127.0.1.1:1", "cannot be reached"}},
		{"auto-join without a provider", func(_ *machine, r *local.JoinRequest) { r.Primaries = []string{"provider=moon tag_key=a"} }, local.CodeInvalid, []string{`provider "moon"`, "provider=aws"}},
	}
	g.settle()
	before := n1.state()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, "j1")
			r := local.JoinRequest{Primaries: []string{n1.rpc()}, Token: good, Roles: []string{"dea"}}
			tt.change(m, &r)
			m.start()
			wantError(t, m.tryJoin(r), tt.code, tt.want...)
			if diff := cmp.Diff(map[string]string{}, m.files()); diff != "" {
				t.Errorf("the refused join left files:\n%s", diff)
			}
			if info, err := m.Info(m.ctx()); err != nil || info.Configured {
				t.Errorf("info %+v, %v", info, err)
			}
			if diff := cmp.Diff(before, n1.state()); diff != "" {
				t.Errorf("the cluster changed:\n%s", diff)
			}
		})
	}
	if got := len(stranger.state().Nodes); got != 1 {
		t.Errorf("the other cluster has %d nodes", got)
	}
	// The machine can still join.
	if err := g.addWith(good, "dea"); err != nil {
		t.Errorf("join after all: %v", err)
	}
}

// addWith lets another machine join with a token.
func (g *group) addWith(token, role string) error {
	g.t.Helper()
	m := newMachine(g.t, fmt.Sprintf("n%d", len(g.machines)+1)).start()
	err := m.tryJoin(local.JoinRequest{Primaries: []string{g.machines[0].rpc()}, Token: token, Roles: []string{role}})
	if err == nil {
		g.machines = append(g.machines, m)
		g.t.Cleanup(g.cancel)
	}
	return err
}

func TestJoinOfOtherVersionRefused(t *testing.T) {
	t.Parallel()
	n1 := newGroup(t).machines[0]
	secret, err := cluster.ParseJoinSecret(n1.token(local.TokenCreateRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	before := n1.state()
	client := rpc.NewAnonymousClient(secret.Digest, time.Now, rpc.ClientConfig{})
	defer client.Close()
	for version, fits := range map[string]bool{"0.3.0": false, "1.1.0": false, "nonsense": false, "": false, "0.2.7": true} {
		key, err := pki.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		n := node.Node{
			ID: node.NewID(), Name: "v1", Address: "127.0.1.1", RPCPort: 1, GossipPort: 2, Roles: node.NewRoleSet(node.Base),
			Zone: node.DefaultZone, Version: version,
		}
		csr, err := pki.CSR(key, n.ID)
		if err != nil {
			t.Fatal(err)
		}
		_, err = rpc.Call(n1.ctx(), client, rpc.Target{Addr: n1.rpc()}, cluster.MethodJoin, &cluster.JoinRequest{
			TokenID: secret.ID, Secret: secret.Secret, Node: n, CSR: csr, Now: time.Now(),
		})
		if fits {
			before = n1.state() // it joined
			if err != nil || len(before.Nodes) != 2 {
				t.Errorf("version %s: %v, %d nodes", version, err, len(before.Nodes))
			}
			continue
		}
		if !errors.Is(err, rpcerr.UnsupportedVersion) || !strings.Contains(err.Error(), "does not fit the cluster's") || rpcerr.From(err).Hint() == "" {
			t.Errorf("version %q: %v", version, err)
		}
		if diff := cmp.Diff(before, n1.state()); diff != "" {
			t.Errorf("version %q changed the cluster:\n%s", version, diff)
		}
	}
}

func TestJoinsRaceForTheLastUse(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "controller")
	n1 := g.machines[0]
	token := n1.token(local.TokenCreateRequest{Roles: []string{"dea"}})
	const racers = 8
	var machines []*machine
	for i := range racers {
		machines = append(machines, newMachine(t, fmt.Sprintf("r%d", i+1)).start())
	}
	errs := make([]error, racers)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i, m := range machines {
		r := local.JoinRequest{Primaries: []string{g.machines[i%3].rpc()}, Token: token, Roles: []string{"dea"}}
		ctx := m.ctx()
		wg.Go(func() {
			<-start
			_, errs[i] = m.Join(ctx, r, nil)
		})
	}
	close(start)
	wg.Wait()
	winners := 0
	for i, m := range machines {
		if errs[i] == nil {
			winners++
			g.machines = append(g.machines, m)
			t.Cleanup(g.cancel)
			continue
		}
		wantError(t, errs[i], local.CodeForbidden, "is used up")
		if diff := cmp.Diff(map[string]string{}, m.files()); diff != "" {
			t.Errorf("%s lost and has files:\n%s", m.name, diff)
		}
	}
	if winners != 1 {
		t.Errorf("%d of %d joins won", winners, racers)
	}
	if nodes := n1.state().Nodes; len(nodes) != 4 {
		t.Errorf("%d nodes, want 4: %+v", len(nodes), nodes)
	}
	if tokens := n1.state().Tokens; tokens[0].Uses != 0 || !tokens[0].Expired {
		t.Errorf("the token has uses left: %+v", tokens[0])
	}
	g.settle()
}

func TestJoinsAreRateLimited(t *testing.T) {
	t.Parallel()
	n1 := newGroup(t).machines[0]
	secret, err := cluster.ParseJoinSecret(n1.token(local.TokenCreateRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	client := rpc.NewAnonymousClient(secret.Digest, time.Now, rpc.ClientConfig{})
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i := 0; ; i++ {
		_, err := rpc.Call(ctx, client, rpc.Target{Addr: n1.rpc()}, cluster.MethodJoin, &cluster.JoinRequest{TokenID: secret.ID, Now: time.Now()})
		if errors.Is(err, rpcerr.Exhausted) {
			if i < 5 {
				t.Errorf("already the call %d was one too many", i+1)
			}
			return
		}
		if err == nil || i > 200 || ctx.Err() != nil {
			t.Fatalf("%d calls without a limit, the last: %v", i, err)
		}
	}
}
