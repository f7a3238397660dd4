package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/cluster/seal"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/member"
	"github.com/stackato/stackato/agent/node"
)

// rotate runs a rotation on m.
func (m *machine) rotate(what local.RotateWhat) local.RotateResult {
	m.t.Helper()
	out, err := m.Rotate(m.ctx(), what, nil)
	if err != nil {
		m.t.Fatalf("rotate %s: %v", what, err)
	}
	return out
}

// wantPending checks that a rotation names the nodes that did not follow.
func wantPending(t testing.TB, out local.RotateResult, names ...string) {
	t.Helper()
	if !slices.Equal(out.Pending, names) {
		t.Errorf("rotate %s: pending %q, want %q", out.What, out.Pending, names)
	}
	text := strings.Join(out.Warnings, "; ")
	for _, n := range names {
		if !strings.Contains(text, n) || !strings.Contains(text, "rotate again") {
			t.Errorf("rotate %s: warnings %q", out.What, text)
		}
	}
}

func TestRotateCA(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "controller", "dea")
	n2, dea := g.machines[1], g.machines[3]
	w := g.write()
	token := n2.token(local.TokenCreateRequest{Roles: []string{"dea"}})
	before := n2.node().dir.get().Issuer

	// With a node down it goes half-way and says so; everything works on.
	g.die(dea)
	wantPending(t, n2.rotate(local.RotateCA), dea.name)
	w.more(5)
	dea.start()
	g.wantCertificates()

	out := n2.rotate(local.RotateCA)
	wantPending(t, out)
	eventually(t, "the old authority is forgotten everywhere", func() error {
		for _, m := range g.machines {
			a := m.node().dir.get()
			bundle, err := pki.ParseBundle(a.Authorities)
			if err != nil {
				return err
			}
			if len(bundle) != 1 || a.Issuer != out.KeyID || a.Issuer == before || m.node().creds.issuer() != out.KeyID {
				return fmt.Errorf("%s trusts %d authorities, its certificate is from %s", m.name, len(bundle), m.node().creds.issuer())
			}
			if roots := m.node().creds.Roots(); len(roots) != 1 || pki.Digest(roots[0]) != out.KeyID {
				return fmt.Errorf("%s shows old trust", m.name)
			}
			if saved, err := pki.ParseBundle([]byte(m.files()["pki/ca.crt"])); err != nil || len(saved) != 1 {
				return fmt.Errorf("%s: %d authorities on disk, %w", m.name, len(saved), err)
			}
		}
		return nil
	})
	w.more(5)
	g.wantCertificates()
	g.settle()

	j := newMachine(t, "n5").start()
	r := local.JoinRequest{Primaries: []string{n2.rpc()}, Token: token, Roles: []string{"dea"}}
	wantError(t, j.tryJoin(r), local.CodeForbidden, "wrong CA digest", "after a change of the CA old tokens end")
	r.Token = n2.token(local.TokenCreateRequest{Roles: []string{"dea"}})
	if err := j.tryJoin(r); err != nil {
		t.Errorf("join with a new token: %v", err)
	}
	g.machines = append(g.machines, j)
	t.Cleanup(g.cancel)
	w.stop()
	<-w.done
	for _, m := range g.machines {
		m.stop()
	}
	for _, m := range g.machines {
		m.start()
	}
	g.settle()
	w.check(g.machines[:3]...)
}

func TestRotateGossipKey(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "controller", "dea")
	n1, dea := g.machines[0], g.machines[3]
	old := n1.node().dir.get().GossipKeys[0]

	g.die(dea)
	wantPending(t, n1.rotate(local.RotateGossipKey), dea.name)
	dea.start()
	g.settle()

	// Nobody may be lost in between.
	ctx, cancel := context.WithCancel(context.Background())
	lost := make(chan string, 1)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for ctx.Err() == nil {
			for _, m := range g.machines {
				for _, o := range g.machines {
					if s := m.node().gossipState(o.id()); s != "alive" && s != "suspect" {
						select {
						case lost <- fmt.Sprintf("%s sees %s as %q", m.name, o.name, s):
						default:
						}
					}
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	wantPending(t, g.machines[1].rotate(local.RotateGossipKey))
	eventually(t, "one new key everywhere", func() error {
		var want []byte
		for _, m := range g.machines {
			keys := m.node().gossip.Keys()
			if len(keys) != 1 || bytes.Equal(keys[0], old) || want != nil && !bytes.Equal(keys[0], want) {
				return fmt.Errorf("%s has %d keys", m.name, len(keys))
			}
			want = keys[0]
		}
		return nil
	})
	cancel()
	<-watched
	select {
	case text := <-lost:
		t.Error(text)
	default:
	}
	g.settle()

	spy, err := member.New(member.Config{
		ID: node.NewID(), Name: "spy", ClusterID: n1.node().id.ClusterID, BindAddr: "127.0.2.9", Keys: [][]byte{old}, Logger: n1.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- spy.Run(run) }()
	if n, err := spy.Join(n1.ctx(), []string{n1.node().dir.get().Self.GossipAddr()}); n != 0 || err == nil {
		t.Errorf("the old key still opens gossip: %d, %v", n, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRotateSealingKey(t *testing.T) {
	t.Parallel()
	g := newGroup(t, "controller", "controller", "dea")
	n1, n3, dea := g.machines[0], g.machines[2], g.machines[3]
	ring := func(m *machine) *seal.Ring {
		t.Helper()
		r, err := store{m.cfg}.ring()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	old := ring(n1).Primary()

	n3.stop()
	wantPending(t, n1.rotate(local.RotateSealingKey), n3.name)
	n3.start()
	g.settle()
	if _, err := n3.TokenCreate(n3.ctx(), local.TokenCreateRequest{}); err != nil {
		t.Errorf("the controller that was down cannot open secrets: %v", err)
	}

	stale := ring(n3)
	out := n1.rotate(local.RotateSealingKey)
	wantPending(t, out)
	if out.KeyID == old {
		t.Error("the key is the old one")
	}
	for _, m := range g.machines[:3] {
		r := ring(m)
		if r.Primary() != out.KeyID {
			t.Errorf("%s seals with %s", m.name, r.Primary())
		}
		if keys := m.node().dir.get().Controller.RingKeys; !slices.Equal(keys, []string{out.KeyID}) {
			eventually(t, m.name+" knows which key is in use", func() error {
				if keys := m.node().dir.get().Controller.RingKeys; !slices.Equal(keys, []string{out.KeyID}) {
					return fmt.Errorf("%q", keys)
				}
				return nil
			})
		}
	}
	if ring(dea) != nil {
		t.Error("a node without the role got the sealing keys")
	}
	pass := []byte("correct horse battery")
	export, err := n3.ExportSealingKeys(n3.ctx(), local.KeyExportRequest{Passphrase: pass})
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := seal.Import(export.Data, pass); err != nil || kept.Primary() != out.KeyID || !slices.Contains(export.Keys, out.KeyID) {
		t.Errorf("exported keys %q, %v; want %s among them", export.Keys, err, out.KeyID)
	}
	_, err = n3.ExportSealingKeys(n3.ctx(), local.KeyExportRequest{Passphrase: []byte("short")})
	wantError(t, err, local.CodeInvalid, "passphrase has 5 bytes", "longer")
	_, err = dea.ExportSealingKeys(dea.ctx(), local.KeyExportRequest{Passphrase: pass})
	wantError(t, err, local.CodeForbidden, "only a controller may do this")
	for _, m := range g.machines {
		m.stop()
	}

	// A controller that missed the hand-over gets the ring when it is back.
	if err := stale.SaveFile(n3.cfg.ringFile()); err != nil {
		t.Fatal(err)
	}
	for _, m := range g.machines {
		m.start()
	}
	eventually(t, "n3 has the new key", func() error {
		if ring(n3).Primary() != out.KeyID {
			return errors.New("it has not")
		}
		return nil
	})
	g.settle()
	if _, err := n3.TokenCreate(n3.ctx(), local.TokenCreateRequest{}); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}
