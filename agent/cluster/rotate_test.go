package cluster

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/cluster/seal"
	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

func everyone(context.Context, uint64) []string { return nil }

func quiet(string) {}

// failing follows until the given call, then a node is missing.
func failing(at int) Spread {
	calls := 0
	return func(context.Context, uint64) []string {
		if calls++; calls == at {
			return []string{"second"}
		}
		return nil
	}
}

func (m *member) keys() [][]byte {
	m.t.Helper()
	a, err := m.assignment(m.view(), m.self.ID)
	if err != nil {
		m.t.Fatal(err)
	}
	return a.GossipKeys
}

func TestRotateGossipKey(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	old := m.keys()
	var stages [][][]byte
	var steps []string
	watch := func(_ context.Context, index uint64) []string {
		if a, err := m.assignment(m.view(), m.self.ID); err != nil || a.Index < index {
			t.Errorf("the state at %d is not there: %v", index, err)
		}
		stages = append(stages, m.keys())
		return nil
	}
	out, err := m.RotateGossipKey(ctx, watch, func(s string) { steps = append(steps, s) })
	if err != nil || out.Kept || len(out.Pending) > 0 || len(steps) != 3 {
		t.Fatalf("%+v, %v, %v", out, err, steps)
	}
	now := m.keys()
	if len(now) != 1 || bytes.Equal(now[0], old[0]) || len(now[0]) != 32 || out.KeyID == "" || bytes.Contains(now[0], []byte(out.KeyID)) {
		t.Fatalf("keys %x", now)
	}
	fresh := now[0]
	want := [][][]byte{{old[0], fresh}, {fresh, old[0]}}
	if !slices.EqualFunc(stages, want, func(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }) {
		t.Errorf("stages %x, want %x", stages, want)
	}
}

// A node that does not follow keeps the old key valid, and says so; the next
// rotation goes to the end.
func TestRotateGossipKeyPending(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	for at := 1; at <= 2; at++ {
		old := m.keys()
		out, err := m.RotateGossipKey(ctx, failing(at), quiet)
		if err != nil || !out.Kept || !slices.Equal(out.Pending, []string{"second"}) {
			t.Fatalf("%+v, %v", out, err)
		}
		now := m.keys()
		if len(now) != 2 || bytes.Equal(now[0], old[0]) != (at == 1) || !slices.ContainsFunc(now, func(k []byte) bool { return bytes.Equal(k, old[0]) }) {
			t.Fatalf("after step %d the keys are %x, before %x", at, now, old)
		}
		if out, err = m.RotateGossipKey(ctx, everyone, quiet); err != nil || out.Kept || len(m.keys()) != 1 {
			t.Fatalf("again: %+v, %v", out, err)
		}
	}
	first := m.keys()[0]
	for range 3 * maxGossipKeys {
		if _, err := m.RotateGossipKey(ctx, failing(1), quiet); err != nil {
			t.Fatal(err)
		}
	}
	if now := m.keys(); len(now) != maxGossipKeys || !bytes.Equal(now[0], first) {
		t.Errorf("%d keys pile up; the primary one stays: %v", len(now), bytes.Equal(now[0], first))
	}
	// Two at once: the second one finds what the first wrote.
	inner := false
	_, err := m.RotateGossipKey(ctx, func(ctx context.Context, _ uint64) []string {
		if !inner {
			inner = true
			if _, err := m.RotateGossipKey(ctx, everyone, quiet); err != nil {
				t.Error(err)
			}
		}
		return nil
	}, quiet)
	wantError(t, err, rpcerr.Conflict, "the secret gossip/keys was changed meanwhile", "")
}

func TestRotateCA(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	old := Authorities(m.view(), "cluster")[0].Digest
	csr := newJoiner(t, m.self).csr
	bundle := func() (pki.Bundle, string) {
		t.Helper()
		a, err := m.assignment(m.view(), m.self.ID)
		if err != nil {
			t.Fatal(err)
		}
		return must(pki.ParseBundle(a.Authorities)), a.Issuer
	}
	issuer := func() string {
		t.Helper()
		text, err := m.Renew(ctx, m.self.ID, csr)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := bundle()
		ca, ok := b.IssuerOf(parse(t, text))
		if !ok {
			t.Fatal("the certificate is of an authority that nobody trusts")
		}
		return pki.Digest(ca)
	}
	trusted := false
	spread := func(context.Context, uint64) []string {
		b, _ := bundle()
		trusted = len(b) == 2 && issuer() == old
		return nil
	}
	renewed := func(context.Context, uint64) []string {
		if b, _ := bundle(); !trusted || len(b) != 2 || issuer() == old {
			t.Error("not trusted by all before it signs, or the old one is gone before all have renewed")
		}
		return nil
	}
	out, err := m.RotateCA(ctx, spread, renewed, quiet)
	if err != nil || out.Kept || out.KeyID == old {
		t.Fatalf("%+v, %v", out, err)
	}
	if b, active := bundle(); len(b) != 1 || active != out.KeyID || issuer() != out.KeyID {
		t.Errorf("%d authorities, %s signs", len(b), active)
	}
	if strings.Contains(m.rows(), old[:20]) && len(Authorities(m.view(), "cluster")) != 1 {
		t.Error("the old authority is still there")
	}
}

// A rotation that stopped half-way is finished by the next one, whoever runs
// it, and adds no third authority.
func TestRotateCAIsFinished(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	for _, stop := range []struct {
		name            string
		spread, renewed Spread
		signs           bool // the new one already
	}{
		{"before all trust it", failing(1), everyone, false},
		{"before all have renewed", everyone, failing(1), true},
	} {
		old := Authorities(m.view(), "cluster")[0].Digest
		half, err := m.RotateCA(ctx, stop.spread, stop.renewed, quiet)
		if err != nil || !half.Kept || !slices.Equal(half.Pending, []string{"second"}) {
			t.Fatalf("%s: %+v, %v", stop.name, half, err)
		}
		for range 3 { // as often as one likes
			again, err := m.RotateCA(ctx, failing(1), failing(1), quiet)
			if err != nil || again.KeyID != half.KeyID || len(Authorities(m.view(), "cluster")) != 2 {
				t.Fatalf("%s: again %+v, %v, %d authorities", stop.name, again, err, len(Authorities(m.view(), "cluster")))
			}
			a, _ := consensus.Get[Authority](m.view(), authoritiesTable, "id", old)
			if a.Digest == "" || a.Active == stop.signs {
				t.Fatalf("%s: the old authority is %+v", stop.name, a)
			}
		}
		done, err := m.RotateCA(ctx, everyone, everyone, quiet)
		if err != nil || done.KeyID != half.KeyID || done.Kept || len(Authorities(m.view(), "cluster")) != 1 {
			t.Fatalf("%s: at last %+v, %v", stop.name, done, err)
		}
	}
	// A join token of before knows the old authority only.
	if _, err := m.ListTokens(ctx); err != nil {
		t.Fatal(err)
	}
}

// sealedAnew reports whether every secret is sealed with key, and can be
// opened with the ring.
func sealedAnew(t *testing.T, m *member, ring *seal.Ring, key string) {
	t.Helper()
	for _, s := range consensus.List[Secret](m.view(), secretsTable, "id") {
		if id, err := seal.KeyID(s.Sealed); err != nil || id != key {
			t.Errorf("%s is sealed with %s, want %s (%v)", s.ID, id, key, err)
		}
		if _, err := ring.Open(s.Sealed, []byte(s.ID)); err != nil {
			t.Errorf("%s: %v", s.ID, err)
		}
	}
}

func TestRotateSealingKey(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	for i := range 3 {
		m.admitted(testNode("n"+string(rune('a'+i)), 2+i, node.DEA))
	}
	before := m.ring.Primary()
	old := consensus.List[Secret](m.view(), secretsTable, "id")
	plain := map[string][]byte{}
	for _, s := range old {
		plain[s.ID] = must(m.ring.Open(s.Sealed, []byte(s.ID)))
	}
	var handed []*seal.Ring
	share := func(_ context.Context, data []byte) []string {
		if m.ring.Primary() != before {
			t.Error("the new key is in use before the others have it")
		}
		handed = append(handed, must(seal.Unmarshal(data)))
		return nil
	}
	out, err := m.RotateSealingKey(ctx, share, quiet)
	if err != nil || len(out.Pending) > 0 || !out.Kept || out.KeyID == before {
		t.Fatalf("%+v, %v", out, err)
	}
	if len(handed) != 2 || handed[0].Primary() != before || handed[1].Primary() != out.KeyID {
		t.Fatalf("handed over: %v", handed)
	}
	saved, err := seal.LoadFile(m.cfg.RingFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, ring := range []*seal.Ring{m.ring, saved, handed[1]} {
		sealedAnew(t, m, ring, out.KeyID)
		for _, s := range old { // logs, snapshots and backups hold these
			if got, err := ring.Open(s.Sealed, []byte(s.ID)); err != nil || !bytes.Equal(got, plain[s.ID]) {
				t.Errorf("the old %s: %v", s.ID, err)
			}
		}
	}
	for id, want := range plain {
		if got, err := m.secret(m.view(), id); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is another value now: %v", id, err)
		}
	}
	if got := ringKeysInUse(m.view()); !slices.Equal(got, []string{out.KeyID}) {
		t.Errorf("keys in use: %v", got)
	}
	if !m.HasRingKeys([]string{before, out.KeyID}) || m.HasRingKeys([]string{"00000000"}) {
		t.Error("HasRingKeys")
	}
}

func TestRotateSealingKeyPending(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	before := m.ring.Primary()
	m.unchanged(func() { // somebody is away: nothing happens at all
		out, err := m.RotateSealingKey(ctx, func(context.Context, []byte) []string { return []string{"second"} }, quiet)
		if err != nil || !slices.Equal(out.Pending, []string{"second"}) || out.KeyID != before || m.ring.Primary() != before {
			t.Errorf("%+v, %v", out, err)
		}
	})
	// Somebody goes away in between: the key stays, because others may use
	// it already, but nothing that is there is sealed with it.
	calls := 0
	m.unchanged(func() {
		out, err := m.RotateSealingKey(ctx, func(context.Context, []byte) []string {
			if calls++; calls == 2 {
				return []string{"second"}
			}
			return nil
		}, quiet)
		if err != nil || len(out.Pending) != 1 || !m.HasRingKeys([]string{before, out.KeyID}) {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

// A crash after the ring was saved and before everything is sealed anew: the
// next start has both keys, and the next rotation seals everything.
func TestRotateSealingKeyCrash(t *testing.T) {
	dir := t.TempDir()
	m, made := first(t, dir)
	ctx := testContext(t)
	crash, cancel := context.WithCancel(ctx)
	calls := 0
	_, err := m.RotateSealingKey(crash, func(context.Context, []byte) []string {
		if calls++; calls == 2 {
			cancel()
		}
		return nil
	}, quiet)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the rotation went on: %v", err)
	}
	rows := m.rows()
	ring, err := seal.LoadFile(m.cfg.RingFile)
	if err != nil {
		t.Fatal(err)
	}
	m.stop()
	made.Ring = ring
	again := startMember(t, newNet(), m.time, m.self, dir, made)
	eventually(t, "it leads again", func() bool { return again.cons.LeadTerm() > 0 })
	if again.rows() != rows {
		t.Error("rows have changed")
	}
	if _, err := again.assignment(again.view(), m.self.ID); err != nil {
		t.Errorf("after the crash: %v", err)
	}
	out, err := again.RotateSealingKey(ctx, func(context.Context, []byte) []string { return nil }, quiet)
	if err != nil {
		t.Fatal(err)
	}
	sealedAnew(t, again, again.ring, out.KeyID)
}

// More secrets than fit into one command are sealed anew in batches, also
// while nodes come and go.
func TestResealInBatches(t *testing.T) {
	m := single(t)
	ctx := testContext(t)
	var many []Secret
	for range 2*resealBatch + 17 {
		many = append(many, m.sealed(consulNodeSecret(node.NewID()), []byte("x")))
	}
	if _, err := cmdSecrets.Propose(ctx, m.cons, secretsInput{Secrets: many}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20 {
			s := m.sealed(many[i].ID, []byte("y"))
			if _, err := cmdSecrets.Propose(ctx, m.cons, secretsInput{Secrets: []Secret{s}}); err != nil {
				t.Error(err)
			}
		}
	}()
	_, err := m.RotateSealingKey(ctx, func(context.Context, []byte) []string { return nil }, quiet)
	<-done
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.RotateSealingKey(ctx, func(context.Context, []byte) []string { return nil }, quiet)
	if err != nil {
		t.Fatal(err)
	}
	sealedAnew(t, m, m.ring, out.KeyID)
	if got, err := m.secret(m.view(), many[3].ID); err != nil || string(got) != "y" {
		t.Errorf("a change was lost: %s, %v", got, err)
	}
}

func TestRingIsForControllers(t *testing.T) {
	m := single(t)
	_, err := m.RingFor(Caller{ID: m.self.ID})
	wantError(t, err, rpcerr.Denied, "only controllers get the sealing keys", "")
	data, err := m.RingFor(Caller{Controller: true})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, m.MergeRing(Caller{}, data), rpcerr.Denied, "only controllers hold the sealing keys", "")
	if err := m.MergeRing(Caller{Controller: true}, []byte("x")); !errors.Is(err, rpcerr.Invalid) {
		t.Error(err)
	}
	if err := m.MergeRing(Caller{Controller: true}, data); err != nil {
		t.Error(err)
	}
}

// TestNoPlainSecretOnDisk does everything that handles a secret, and then
// looks for each of them in all that Raft writes: the log and a snapshot.
func TestNoPlainSecretOnDisk(t *testing.T) {
	dir := t.TempDir()
	m, made := first(t, dir)
	ctx := testContext(t)
	secret := m.token(0, 2)
	n := testNode("second", 2, node.DEA)
	if _, err := m.Join(ctx, newJoiner(t, n).request(secret, m.time.Now())); err != nil {
		t.Fatal(err)
	}
	plain := map[string][]byte{"the token": []byte(secret.Secret), "the first password": []byte(made.Password)}
	note := func(when string) {
		for _, s := range consensus.List[Secret](m.view(), secretsTable, "id") {
			value := must(m.ring.Open(s.Sealed, []byte(s.ID)))
			plain[s.ID+when] = value
			var keys [][]byte
			if s.ID == gossipKeysSecret && json.Unmarshal(value, &keys) == nil {
				for _, k := range keys {
					plain["a gossip key"+when+hex.EncodeToString(k[:2])] = k
				}
			}
		}
	}
	note(" before")
	_, password, err := m.ResetAdmin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	plain["the new password"] = []byte(password)
	for _, f := range []func() (Rotation, error){
		func() (Rotation, error) { return m.RotateGossipKey(ctx, everyone, quiet) },
		func() (Rotation, error) { return m.RotateCA(ctx, everyone, everyone, quiet) },
		func() (Rotation, error) {
			return m.RotateSealingKey(ctx, func(context.Context, []byte) []string { return nil }, quiet)
		},
	} {
		if _, err := f(); err != nil {
			t.Fatal(err)
		}
	}
	note(" after")
	if len(plain) < 15 {
		t.Fatalf("only %d secrets to look for", len(plain))
	}
	if err := m.cons.Snapshot(); err != nil {
		t.Fatal(err)
	}
	rows := []byte(m.rows())
	m.stop()
	files := map[string][]byte{"rows": rows}
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[path], err = os.ReadFile(path)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	found := false // that we look in the right place
	for path, data := range files {
		found = found || path != "rows" && bytes.Contains(data, []byte(secret.Hash()))
		for name, value := range plain {
			for form, text := range map[string][]byte{
				"plain": value, "base64": []byte(base64.StdEncoding.EncodeToString(value)), "hex": []byte(hex.EncodeToString(value)),
			} {
				if bytes.Contains(data, text) {
					t.Errorf("%s holds %s (%s)", path, name, form)
				}
			}
		}
	}
	if !found || len(files) < 3 {
		t.Errorf("the log and the snapshot were not among %d files", len(files))
	}
}
