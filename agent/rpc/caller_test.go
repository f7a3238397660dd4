package rpc_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/rpcerr"
)

// methods has one method for each kind of caller.
var methods = map[rpc.CallerSet]rpc.Method[rpc.Empty, text]{}

func init() {
	for _, k := range []rpc.CallerSet{rpc.Anonymous, rpc.Expired, rpc.Member, rpc.Controller, rpc.Primary, rpc.Self} {
		methods[k] = rpc.Method[rpc.Empty, text]{Name: "test." + k.String(), Callers: k}
	}
}

func registerAll(s *rpc.Server) {
	for _, m := range methods {
		rpc.Handle(s, m, func(_ context.Context, c rpc.Caller, _ *rpc.Empty) (*text, error) {
			return &text{Text: c.Kinds.String()}, nil
		})
	}
}

func TestWhoMayCallWhat(t *testing.T) {
	c := newCluster(t, "c1")
	self := c.join(node.Base, node.Controller, node.Router)
	s := start(t, self, registerAll)

	primary := c.join(node.Base, node.Controller, node.Router)
	c.setPrimary(primary.id)
	expired := c.join(node.Base, node.Controller, node.Router)
	expired.renew(time.Minute)
	removed := c.join(node.Base, node.Controller, node.Router)
	c.remove(removed.id)
	expiredRemoved := c.join(node.Base)
	expiredRemoved.renew(time.Minute)
	c.remove(expiredRemoved.id)
	c.advance(time.Hour)

	// A node of another cluster that would trust our CA: only the server can
	// refuse it. One has another id, one the same.
	foreign := newCluster(t, "c2").join(node.Base, node.Controller, node.Router)
	foreign.setRoots(c.ca.Cert())
	sameID := newCluster(t, "c1").join(node.Base, node.Controller, node.Router)
	sameID.setRoots(c.ca.Cert())
	for _, f := range []*creds{foreign, sameID} {
		c.mu.Lock()
		c.nodes[f.id] = node.Node{ID: f.id, Roles: node.NewRoleSet(node.Base, node.Controller)}
		c.mu.Unlock()
	}
	asForeign := client(t, trusting{foreign, c.id})
	asSameID := client(t, trusting{sameID, c.id})

	tests := []struct {
		name   string
		client *rpc.Client
		may    rpc.CallerSet
		code   rpcerr.Code // of every refusal
		want   string      // in the message of the member method, if refused
	}{
		{"anonymous", anonymous(t, c, c.ca.Digest()), rpc.Anonymous, rpcerr.Unauthenticated, "needs a node certificate"},
		{"expired", client(t, expired), rpc.Expired, rpcerr.Unauthenticated, "expired on"},
		{"member", client(t, c.join(node.Base, node.DEA)), rpc.Member, rpcerr.Denied, ""},
		{"controller", client(t, c.join(node.Base, node.Controller, node.Router)), rpc.Member | rpc.Controller, rpcerr.Denied, ""},
		{"primary", client(t, primary), rpc.Member | rpc.Controller | rpc.Primary, rpcerr.Denied, ""},
		{"self", client(t, self), rpc.Member | rpc.Controller | rpc.Self, rpcerr.Denied, ""},
		{"removed", client(t, removed), 0, rpcerr.Denied, "does not belong to the cluster"},
		{"removed and expired", client(t, expiredRemoved), 0, rpcerr.Denied, "does not belong to the cluster"},
		{"other cluster", asForeign, 0, rpcerr.Unauthenticated, "of another cluster"},
		{"other cluster, same id", asSameID, 0, rpcerr.Unauthenticated, "of another cluster"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for kind, m := range methods {
				got, err := rpc.Call(t.Context(), tt.client, s.target(), m, &rpc.Empty{})
				switch {
				case tt.may.Has(kind):
					if err != nil || got.Text != tt.may.String() {
						t.Errorf("%s: %+v, %v; want %s", m.Name, got, err, tt.may)
					}
				case !errors.Is(err, tt.code):
					t.Errorf("%s: got %+v, %v; want %s", m.Name, got, err, tt.code)
				case kind == rpc.Member && !strings.Contains(err.Error(), tt.want):
					t.Errorf("%s: got %q, want %q", m.Name, err, tt.want)
				}
			}
		})
	}
}

// trusting is a node of one cluster that says it is in another.
type trusting struct {
	*creds
	clusterID string
}

func (c trusting) ClusterID() string { return c.clusterID }

// An open connection gives no rights that the node has lost since.
func TestRightsEndDuringAConnection(t *testing.T) {
	c := newCluster(t, "c1")
	s := start(t, c.join(node.Base, node.Controller, node.Router), registerAll)
	tests := []struct {
		name string
		lose func(m *creds)
		code rpcerr.Code
	}{
		{"role", func(m *creds) { c.setRoles(m.id, node.Base) }, rpcerr.Denied},
		{"membership", func(m *creds) { c.remove(m.id) }, rpcerr.Denied},
		{"certificate", func(*creds) { c.advance(25 * time.Hour) }, rpcerr.Unauthenticated},
		{"authority", func(*creds) { c.setRoots(newCluster(t, "c1").ca.Cert()) }, rpcerr.Unauthenticated},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now, roots := s.creds.Now(), s.creds.Roots()
			t.Cleanup(func() {
				c.setRoots(roots...)
				c.mu.Lock()
				c.now = now
				c.mu.Unlock()
			})
			m := c.join(node.Base, node.Controller, node.Router)
			dials := &dialCounter{}
			cl := client(t, m, dials.count)
			if _, err := rpc.Call(t.Context(), cl, s.target(), methods[rpc.Controller], &rpc.Empty{}); err != nil {
				t.Fatal(err)
			}
			tt.lose(m)
			_, err := rpc.Call(t.Context(), cl, s.target(), methods[rpc.Controller], &rpc.Empty{})
			if !errors.Is(err, tt.code) {
				t.Errorf("got %v, want %s", err, tt.code)
			}
			if n := dials.n.Load(); n != 1 {
				t.Errorf("%d connections: the test did not use the open one", n)
			}
		})
	}
}

func TestTheServerMustBeTheTarget(t *testing.T) {
	c := newCluster(t, "c1")
	s := start(t, c.join(node.Base), registerEcho)
	other := newCluster(t, "c2")
	tests := []struct {
		name   string
		client *rpc.Client
		target rpc.Target
		want   string // "" if it is accepted
	}{
		{"right node", client(t, c.join(node.Base)), s.target(), ""},
		{"any node", client(t, c.join(node.Base)), rpc.Target{Addr: s.Addr().String()}, ""},
		{"another node", client(t, c.join(node.Base)), rpc.Target{ID: node.NewID(), Addr: s.Addr().String()}, "where"},
		{"another cluster", client(t, other.join(node.Base)), s.target(), "of another cluster"},
		{"wrong digest", anonymous(t, c, other.ca.Digest()), s.target(), "wrong CA digest"},
		{"digest of the leaf", anonymous(t, c, pki.Digest(s.creds.Certificate().Leaf)), s.target(), "wrong CA digest"},
		{"no digest", anonymous(t, c, ""), s.target(), "wrong CA digest"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := rpc.Call(t.Context(), tt.client, tt.target, echo, &text{})
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, rpcerr.Unauthenticated) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	_, err := rpc.Call(t.Context(), anonymous(t, c, "sha256:00"), s.target(), echo, &text{})
	if !errors.Is(err, rpc.ErrWrongDigest) || rpcerr.From(err).Hint() == "" {
		t.Errorf("wrong digest: %v", err)
	}
}

// A server that sends the right CA along without being signed by it.
func TestBorrowedCA(t *testing.T) {
	c, thief := newCluster(t, "c1"), newCluster(t, "c1")
	m := thief.join(node.Base)
	m.cert.Certificate = append(m.cert.Certificate, c.ca.Cert().Raw)
	s := start(t, m, registerEcho)
	_, err := rpc.Call(t.Context(), anonymous(t, c, c.ca.Digest()), s.target(), echo, &text{})
	if !errors.Is(err, rpcerr.Unauthenticated) || !errors.Is(err, pki.ErrOtherCluster) {
		t.Fatalf("got %v", err)
	}
}

// After a renewal calls go out with the new certificate, without a restart.
func TestRenewal(t *testing.T) {
	c := newCluster(t, "c1")
	s := start(t, c.join(node.Base, node.Controller, node.Router), registerAll)
	m := c.join(node.Base)
	cl := client(t, m)
	call := func(kind rpc.CallerSet) error {
		_, err := rpc.Call(t.Context(), cl, s.target(), methods[kind], &rpc.Empty{})
		return err
	}
	if err := call(rpc.Member); err != nil {
		t.Fatal(err)
	}
	s.creds.renew(30 * 24 * time.Hour)
	c.advance(25 * time.Hour)
	if err := call(rpc.Member); !errors.Is(err, rpcerr.Unauthenticated) {
		t.Fatalf("with the expired certificate: %v", err)
	}
	if err := call(rpc.Expired); err != nil {
		t.Fatalf("renew with the expired certificate: %v", err)
	}
	m.renew(24 * time.Hour)
	if err := call(rpc.Member); err != nil {
		t.Fatalf("with the new certificate: %v", err)
	}
}

func TestEveryMethodNamesItsCallers(t *testing.T) {
	c := newCluster(t, "c1")
	var infos []rpc.MethodInfo
	start(t, c.join(node.Base), func(s *rpc.Server) {
		registerAll(s)
		rpc.HandleStream(s, count, func(context.Context, rpc.Caller, *text, func(*text) error) error { return nil })
		infos = s.Methods()

		for name, bad := range map[string]rpc.Method[rpc.Empty, rpc.Empty]{
			"no callers":   {Name: "test.none"},
			"no such kind": {Name: "test.none", Callers: 1 << 7},
			"twice":        {Name: "test.member", Callers: rpc.Member},
			"one word":     {Name: "test", Callers: rpc.Member},
			"upper case":   {Name: "test.X", Callers: rpc.Member},
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: accepted", name)
					}
				}()
				rpc.Handle(s, bad, func(context.Context, rpc.Caller, *rpc.Empty) (*rpc.Empty, error) { return nil, nil })
			}()
		}
	})
	var got []string
	for _, i := range infos {
		got = append(got, i.Name+" "+i.Callers.String())
	}
	want := []string{
		"test.anonymous anonymous", "test.controller controller", "test.count member", "test.expired expired",
		"test.member member", "test.primary primary", "test.self self",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
