package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/test/cluster"
)

// TestJoinRefusals has a machine try to join with tokens that must not do. It
// stays as it was, and then joins with a good one.
func TestJoinRefusals(t *testing.T) {
	ctx := bounded(t, 60*time.Second)
	c := cluster.New(t, cluster.Options{Nodes: 3, Roles: cluster.EveryController, NoDocker: true, AgentEnv: agentAlone})
	first, used, late := c.Node(0), c.Node(1), c.Node(2)
	must(t, first.Init(ctx))

	token := func(r local.TokenCreateRequest) local.NewToken {
		t.Helper()
		r.Roles = []string{"controller", "router"}
		out, err := first.Client().TokenCreate(ctx, r)
		must(t, err)
		return out
	}
	usedUp := token(local.TokenCreateRequest{})
	m := used.Membership()
	m.Token = usedUp.Secret
	must(t, used.Join(ctx, first, m))
	revoked := token(local.TokenCreateRequest{})
	must(t, first.Client().TokenRevoke(ctx, revoked.ID))
	expired := token(local.TokenCreateRequest{TTL: time.Second})
	must(t, c.WaitFor(ctx, "the token to expire", func() error { return hasExpired(ctx, first, expired.ID) }))
	good := token(local.TokenCreateRequest{})
	damaged := good.Secret[:len(good.Secret)-8] + strings.Repeat("A", 8)

	for name, bad := range map[string]struct{ token, says string }{
		"nothing": {"\n", "token"},
		"garbage": {"not a token", "token"},
		"damaged": {damaged, "token"},
		"used up": {usedUp.Secret, "used"},
		"revoked": {revoked.Secret, "revoked"},
		"expired": {expired.Secret, "expired"},
		"no file": {"", "token"},
	} {
		var err error
		if bad.token == "" {
			_, err = late.Exec(ctx, "stackato-agent", "join", first.Address)
		} else {
			m.Token = bad.token
			err = late.Join(ctx, first, m)
		}
		var failed *cluster.CommandError
		if !errors.As(err, &failed) || failed.Code == 0 {
			t.Errorf("%s: joined, or failed otherwise: %v", name, err)
			continue
		}
		t.Logf("%s: exit code %d: %s", name, failed.Code, strings.TrimSpace(failed.Stderr))
		if !strings.Contains(failed.Stderr, bad.says) {
			t.Errorf("%s: the message does not name it (%q)", name, bad.says)
		}
		if err := pristine(ctx, late); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	members, err := first.Client().Nodes(ctx)
	must(t, err)
	if len(members) != 2 {
		t.Errorf("the cluster has %d nodes after the refusals", len(members))
	}
	m.Token = good.Secret
	must(t, late.Join(ctx, first, m))
	must(t, c.WaitMembers(ctx, 3))
}

func hasExpired(ctx context.Context, n *cluster.Node, id string) error {
	tokens, err := n.Client().TokenList(ctx)
	for _, tok := range tokens {
		if tok.ID == id && !tok.Expired {
			err = errors.New("it is still good")
		}
	}
	return err
}

// pristine is nil on a machine that holds nothing of a membership.
func pristine(ctx context.Context, n *cluster.Node) error {
	info, err := n.Client().Info(ctx)
	if err != nil {
		return err
	}
	if info.Configured || info.Type != local.TypeUnconfigured {
		return fmt.Errorf("%s takes itself for a member: %+v", n.Name, info)
	}
	for _, name := range []string{"node.json", "assignment.json", "tools.env", "raft", "consul", "nomad", "pki"} {
		entries, err := os.ReadDir(n.HostPath(cluster.DataDir + "/" + name))
		if err == nil && len(entries) == 0 || errors.Is(err, os.ErrNotExist) {
			continue
		}
		return fmt.Errorf("%s holds %s after a refused join (%v)", n.Name, name, entries)
	}
	return nil
}
