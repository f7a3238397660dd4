package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/cluster/seal"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/internal/atomicfile"
)

// TokenCreate implements local.TokenBackend.
func (b *backend) TokenCreate(ctx context.Context, req local.TokenCreateRequest) (local.NewToken, error) {
	_, c, err := b.controllerOnly()
	if err != nil {
		return local.NewToken{}, err
	}
	var roles node.RoleSet
	if len(req.Roles) > 0 {
		groups, err := readGroups(b.a.cfg.RoleGroups)
		if err != nil {
			return local.NewToken{}, err
		}
		if roles, err = groups.Resolve(req.Roles...); err != nil {
			return local.NewToken{}, local.Errorf(local.CodeNotFound, "see: kato role list", "%v", err)
		}
	}
	t, secret, err := c.CreateToken(ctx, roles, req.TTL, req.Uses)
	if err != nil {
		return local.NewToken{}, err
	}
	return local.NewToken{Token: b.tokenView(t), Secret: secret.Encode()}, nil
}

func (b *backend) tokenView(t cluster.Token) local.Token {
	return local.Token{
		ID: t.ID, Roles: t.Roles, Uses: t.Uses, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt,
		Expired: !b.a.cfg.Now().Before(t.ExpiresAt) || t.Revoked || t.Uses <= 0,
	}
}

// TokenList implements local.TokenBackend.
func (b *backend) TokenList(ctx context.Context) ([]local.Token, error) {
	_, c, err := b.controllerOnly()
	if err != nil {
		return nil, err
	}
	list, err := c.ListTokens(ctx)
	if err != nil {
		return nil, err
	}
	out := []local.Token{}
	for _, t := range list {
		out = append(out, b.tokenView(t))
	}
	slices.SortFunc(out, func(a, b local.Token) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return out, nil
}

// TokenRevoke implements local.TokenBackend.
func (b *backend) TokenRevoke(ctx context.Context, id string) error {
	_, c, err := b.controllerOnly()
	if err != nil {
		return err
	}
	return c.RevokeToken(ctx, id)
}

// UserResetAdmin implements local.SecurityBackend.
func (b *backend) UserResetAdmin(ctx context.Context) (local.Credentials, error) {
	_, c, err := b.controllerOnly()
	if err != nil {
		return local.Credentials{}, err
	}
	user, password, err := c.ResetAdmin(ctx)
	if err != nil {
		return local.Credentials{}, err
	}
	text := fmt.Sprintf("username: %s\npassword: %s\n", user, password)
	if err := atomicfile.Write(b.a.cfg.adminFile(), []byte(text), 0o600); err != nil {
		b.a.log.Error("save the new password", "err", err)
	}
	return local.Credentials{Username: user, Password: password}, nil
}

// Rotate implements local.SecurityBackend.
func (b *backend) Rotate(ctx context.Context, what local.RotateWhat, p local.Progress) (local.RotateResult, error) {
	r, c, err := b.controllerOnly()
	if err != nil {
		return local.RotateResult{}, err
	}
	out := local.RotateResult{What: what, Steps: []local.Step{}, Pending: []string{}, Warnings: []string{}}
	step := stepper(func(s local.Step) {
		out.Steps = append(out.Steps, s)
		p(s)
	})
	var done cluster.Rotation
	switch what {
	case local.RotateGossipKey:
		done, err = c.RotateGossipKey(ctx, r.spread, step)
	case local.RotateCA:
		done, err = c.RotateCA(ctx, r.spread, r.renewed, step)
		out.Warnings = append(out.Warnings, "join tokens made before carry the old authority's digest: make new ones")
	case local.RotateSealingKey:
		done, err = c.RotateSealingKey(ctx, r.shareRing, step)
	default:
		return out, local.Errorf(local.CodeInvalid, "use gossip-key, ca or sealing-key", "cannot rotate %.40q", what)
	}
	if err != nil {
		return out, err
	}
	step("")
	out.KeyID = done.KeyID
	if len(done.Pending) > 0 {
		out.Pending = done.Pending
		out.Warnings = append(out.Warnings, fmt.Sprintf("not finished: %s did not follow; the old key stays valid. Bring them back (or remove them) and rotate again",
			strings.Join(done.Pending, ", ")))
	}
	return out, nil
}

// ExportSealingKeys implements local.SecurityBackend.
func (b *backend) ExportSealingKeys(_ context.Context, req local.KeyExportRequest) (local.KeyExport, error) {
	_, c, err := b.controllerOnly()
	if err != nil {
		return local.KeyExport{}, err
	}
	if len(req.Passphrase) < seal.MinPassphrase {
		return local.KeyExport{}, local.Errorf(local.CodeInvalid, "take a longer one", "the passphrase has %d bytes, at least %d are wanted", len(req.Passphrase), seal.MinPassphrase)
	}
	data, keys, err := c.ExportRing(req.Passphrase)
	return local.KeyExport{Data: data, Keys: keys}, err
}

// spreadWait bounds how long a rotation waits for the nodes.
const spreadWait = 30 * time.Second

// spread implements cluster.Spread: nodes have taken over the state at index.
func (r *runtime) spread(ctx context.Context, index uint64) []string {
	return r.untilAll(ctx, index, func(answer) bool { return true })
}

// renewed implements cluster.Spread: nodes have a certificate of the
// authority that signs now.
func (r *runtime) renewed(ctx context.Context, index uint64) []string {
	return r.untilAll(ctx, index, func(s answer) bool { return s.Issuer == r.dir.get().Issuer })
}

// untilAll polls every node until all have taken over the state at index and
// satisfy ok; it returns the names of those that do not in time. There is no
// waiting for nodes alone that do not answer and are dead for gossip too.
func (r *runtime) untilAll(ctx context.Context, index uint64, ok func(answer) bool) []string {
	ctx, cancel := context.WithTimeout(ctx, spreadWait)
	defer cancel()
	for {
		pending, hope := r.notYet(ctx, index, ok)
		if !hope {
			return pending
		}
		select {
		case <-ctx.Done():
			return pending
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// notYet asks every node once; hope says that another time may be different.
// Until this node itself has taken the state over, it may not know of a node
// that joined before: what that one still needs must not be dropped.
func (r *runtime) notYet(ctx context.Context, index uint64, ok func(answer) bool) (pending []string, hope bool) {
	knowsAll := r.taken.upTo() >= index // before it looks whom to ask
	pending = []string{}
	for _, s := range r.askAllAt(ctx, index) {
		self := s.node.ID == r.id.ID
		if s.err == nil && s.Index >= index && ok(s) && (!self || knowsAll) {
			continue
		}
		pending = append(pending, s.node.Name)
		alive, _ := r.Alive(s.node.ID)
		hope = hope || s.err == nil || alive
	}
	return pending, hope
}

// shareRing hands the sealing keys to the other controllers; it returns the
// names of those that did not take them.
func (r *runtime) shareRing(ctx context.Context, ring []byte) []string {
	var pending []string
	for _, n := range r.dir.get().Nodes {
		if !n.Roles.Has(node.Controller) || n.ID == r.id.ID {
			continue
		}
		_, err := rpc.Call(ctx, r.client, rpc.Target{ID: n.ID, Addr: n.RPCAddr()}, cluster.MethodMergeRing, &cluster.Ring{Data: ring})
		if err != nil {
			r.log.Warn("hand the sealing keys over", "node", n.Name, "err", err)
			pending = append(pending, n.Name)
		}
	}
	return pending
}
