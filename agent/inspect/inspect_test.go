package inspect

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/stackato/stackato/agent/fence"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// expect compares findings with want: "status: part of the detail" each, in
// order. Every finding but ok must have a remedy.
func expect(t *testing.T, got []local.Finding, want ...string) {
	t.Helper()
	good := len(got) == len(want)
	for i := 0; good && i < len(got); i++ {
		status, part, _ := strings.Cut(want[i], ": ")
		good = got[i].Status == status && strings.Contains(got[i].Detail, part)
	}
	if !good {
		t.Errorf("got %+v\nwant %q", got, want)
	}
	for _, f := range got {
		if (f.Status == local.FindingOK) != (f.Remedy == "") {
			t.Errorf("remedy of %+v", f)
		}
	}
}

func TestRunOnUnconfiguredMachine(t *testing.T) {
	env := Env{DataDir: t.TempDir(), Version: "0.1.0"}
	var reported, names []string
	got, err := Run(t.Context(), env, nil, func(name string) { reported = append(reported, name) })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range Checks(env) {
		names = append(names, c.Name)
		if c.Description == "" {
			t.Errorf("%s has no description", c.Name)
		}
	}
	if diff := cmp.Diff(names, reported); diff != "" {
		t.Error(diff)
	}
	var order []string
	for _, f := range got {
		t.Logf("%-13s %-4s %s", f.Check, f.Status, f.Detail)
		if len(order) == 0 || order[len(order)-1] != f.Check {
			order = append(order, f.Check)
		}
		if f.Status == local.FindingFail && f.Check != "disk" && f.Check != "memory" { // of the machine
			t.Errorf("an unconfigured machine fails: %+v", f)
		}
	}
	if diff := cmp.Diff(names, order); diff != "" {
		t.Error(diff)
	}
}

func TestRunChosen(t *testing.T) {
	env := Env{DataDir: t.TempDir()}
	got, err := Run(t.Context(), env, []string{"clock", "quorum", "clock"}, nil)
	if err != nil || len(got) != 2 || got[0].Check != "clock" || got[1].Check != "quorum" {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = Run(t.Context(), env, []string{"clock", "moon"}, nil)
	var e *local.Error
	if !errors.As(err, &e) || e.ErrCode != local.CodeNotFound || !strings.Contains(e.ErrHint, "clock, disk") {
		t.Errorf("unknown check: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, env, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestContained: a check that panics and one that hangs are findings, and the
// others are not touched.
func TestContained(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer synctest.Wait()
		defer close(release)
		env := Env{
			Configured: true, DataDir: dir, Now: at(0), Logger: slog.New(slog.DiscardHandler),
			Self:   node.Node{Roles: node.NewRoleSet(node.DEA)},
			Docker: func(context.Context) (fence.Info, error) { panic("moon") },
			Quorum: func(context.Context) (Quorum, error) { <-release; return Quorum{}, nil }, // deaf
			Gossip: func(ctx context.Context) ([]Seen, error) { <-ctx.Done(); return nil, ctx.Err() },
		}
		begin := time.Now()
		got, err := Run(t.Context(), env, []string{"clock", "docker", "quorum", "gossip", "certificates"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, got, "warn: nothing to look at", "fail: broken: moon", "fail: no certificate", "fail: did not end within 5s", "fail: deadline exceeded")
		if took := time.Since(begin); took > Deadline+time.Second {
			t.Errorf("took %v: the checks wait for each other", took)
		}
	})
}

// TestNothingIsNoSuccess: a check that the agent gave nothing does not say ok
// on a node of a cluster.
func TestNothingIsNoSuccess(t *testing.T) {
	env := Env{Configured: true, Self: node.Node{Roles: node.NewRoleSet(node.DEA)}}
	names := []string{"clock", "files", "ports", "docker", "versions", "quorum", "gossip", "consul"}
	got, err := Run(t.Context(), env, names, nil)
	if err != nil || len(got) != len(names) {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, f := range got {
		if f.Status != local.FindingWarn || !strings.Contains(f.Detail, "nothing to look at") {
			t.Errorf("%+v", f)
		}
	}
}

func TestClock(t *testing.T) {
	offset := func(name string, d time.Duration) Offset { return Offset{Node: name, Offset: d} }
	silent := Offset{Node: "n9", Err: errors.New("away")}
	for name, tt := range map[string]struct {
		offsets []Offset
		want    string
		remedy  string
	}{
		"alone":          {nil, "ok: no other node", ""},
		"close":          {[]Offset{offset("n2", time.Millisecond), offset("n3", -3*time.Millisecond)}, "ok: at most -3ms off (n3), 2 asked", ""},
		"one silent":     {[]Offset{offset("n2", time.Millisecond), silent}, "ok: no answer from n9", ""},
		"all silent":     {[]Offset{silent}, "warn: no other node told", "kato status -a"},
		"bound":          {[]Offset{offset("n2", time.Second)}, "ok: ", ""},
		"another is off": {[]Offset{offset("n2", 0), offset("n3", 2*time.Second)}, "warn: n3 by 2s", "the clock there"},
		"we are off":     {[]Offset{offset("n2", -2*time.Second), offset("n3", -2*time.Second)}, "warn: n2 by -2s, n3", "this machine's clock"},
		"far":            {[]Offset{offset("n2", 0), offset("n3", -31*time.Second)}, "fail: n3 by -31s", "the clock there"},
	} {
		t.Run(name, func(t *testing.T) {
			got := judgeClock(tt.offsets)
			expect(t, got, tt.want)
			if !strings.Contains(got[0].Remedy, tt.remedy) {
				t.Errorf("remedy %q", got[0].Remedy)
			}
		})
	}
	env := Env{Configured: true, Now: func() time.Time { return time.Unix(0, 0) }}
	expect(t, env.clock(t.Context()), "fail: 1970-01-01")
	env = Env{Configured: true, Now: time.Now, Clocks: func(context.Context) ([]Offset, error) { return nil, errors.New("no RPC") }}
	expect(t, env.clock(t.Context()), "warn: no RPC")
}

func TestQuorum(t *testing.T) {
	voters := func(alive ...bool) (out []Voter) {
		for i, a := range alive {
			out = append(out, Voter{"n" + string(rune('1'+i)), a})
		}
		return out
	}
	for name, tt := range map[string]struct {
		q           Quorum
		controllers int
		micro       bool
		want        []string
	}{
		"three":      {Quorum{Primary: "n1", Voters: voters(true, true, true)}, 3, false, []string{"ok: 3 of 3 voters answer, Primary is n1"}},
		"one dead":   {Quorum{Primary: "n1", Voters: voters(true, true, false)}, 3, false, []string{"warn: 2 of 3 voters answer: n3 away"}},
		"lost":       {Quorum{Voters: voters(true, false, false)}, 3, false, []string{"fail: 1 of 3 voters answer, 2 are needed: n2, n3 away"}},
		"no primary": {Quorum{Voters: voters(true, true, true)}, 3, false, []string{"fail: there is no Primary"}},
		"unknown":    {Quorum{}, 0, false, []string{"fail: no voter is known"}},
		"single":     {Quorum{Primary: "n1", Voters: voters(true)}, 1, false, []string{"ok: 1 of 1", "warn: not redundant: 1 voter"}},
		"two":        {Quorum{Primary: "n1", Voters: voters(true)}, 2, false, []string{"ok: 1 of 1", "warn: not redundant: 1 voter"}},
		"micro":      {Quorum{Primary: "n1", Voters: voters(true)}, 1, true, []string{"ok: 1 of 1", "ok: not redundant"}},
		"promotion":  {Quorum{Primary: "n1", Voters: voters(true)}, 3, false, []string{"ok: 1 of 1", "warn: 1 voter of 3 controllers"}},
		"behind":     {Quorum{Primary: "n1", Voters: voters(true, true, true), Member: true, Commit: 5000, Applied: 3000}, 3, false, []string{"ok: ", "warn: 2000 log entries behind"}},
		"out of touch": {
			Quorum{Primary: "n1", Voters: voters(true, true, true), Member: true, LastContact: 3 * time.Second},
			3, false,
			[]string{"ok: ", "warn: not heard of the Primary for 3s"},
		},
		"leader": {Quorum{Primary: "n1", Voters: voters(true, true, true), Member: true, Leads: true, Commit: 5000}, 3, false, []string{"ok: "}},
	} {
		t.Run(name, func(t *testing.T) {
			env := Env{Configured: true, Micro: tt.micro, Quorum: func(context.Context) (Quorum, error) { return tt.q, nil }}
			for range tt.controllers {
				env.Nodes = append(env.Nodes, node.Node{Roles: node.NewRoleSet(node.Controller)})
			}
			expect(t, env.quorum(t.Context()), tt.want...)
		})
	}
	env := Env{Configured: true, Quorum: func(context.Context) (Quorum, error) { return Quorum{}, errors.New("no RPC") }}
	expect(t, env.quorum(t.Context()), "fail: no RPC")
	env.Configured = false
	expect(t, env.quorum(t.Context()), "ok: in no cluster")
}

func TestMembers(t *testing.T) {
	nodes := []node.Node{{ID: "1", Name: "n1", Address: "10.0.0.1"}, {ID: "2", Name: "n2", Address: "10.0.0.2"}, {ID: "3", Name: "n3", Address: "10.0.0.3"}}
	alive := func(id node.ID) Seen { return Seen{id, "n" + string(id), "10.0.0." + string(id), "alive"} }
	for name, tt := range map[string]struct {
		seen []Seen
		want []string
	}{
		"all":        {[]Seen{alive("1"), alive("2"), alive("3")}, []string{"ok: gossip sees all 3 nodes"}},
		"by name":    {[]Seen{{Name: "n1", State: "alive"}, {Name: "n2", State: "alive"}, {Name: "n3", State: "alive"}}, []string{"ok: all 3"}},
		"dead":       {[]Seen{alive("1"), alive("2"), {"3", "n3", "10.0.0.3", "dead"}}, []string{"warn: does not see n3 (dead)"}},
		"never seen": {[]Seen{alive("1"), alive("2")}, []string{"warn: n3 (never seen)"}},
		"alone":      {[]Seen{alive("1")}, []string{"fail: sees no other node: n2 (never seen), n3"}},
		"moved":      {[]Seen{alive("1"), alive("2"), {"3", "n3", "10.0.0.9", "alive"}}, []string{"warn: n3 at 10.0.0.9, not 10.0.0.3"}},
		"stranger":   {[]Seen{alive("1"), alive("2"), alive("3"), {"9", "n9", "", "alive"}}, []string{"warn: sees n9, not in the nodes table"}},
		"left":       {[]Seen{alive("1"), alive("2"), alive("3"), {"9", "n9", "", "left"}}, []string{"ok: all 3"}},
	} {
		t.Run(name, func(t *testing.T) {
			ask := func(context.Context) ([]Seen, error) { return tt.seen, nil }
			env := Env{Configured: true, Self: nodes[0], Nodes: nodes, Gossip: ask, Consul: ask}
			expect(t, env.gossip(t.Context()), tt.want...)
			if got := env.consul(t.Context()); !strings.Contains(got[0].Detail, "Consul sees") && !strings.Contains(got[0].Detail, "Consul does not see") {
				t.Errorf("consul: %+v", got)
			}
		})
	}
	env := Env{Configured: true, Consul: func(context.Context) ([]Seen, error) { return nil, errors.New("refused") }}
	expect(t, env.consul(t.Context()), "fail: refused")
	expect(t, judgeMembers("gossip", "1", nodes[:1], []Seen{alive("1")}, "x"), "ok: all 1")
}
