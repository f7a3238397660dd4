package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/cluster/seal"
	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Spread tells the steps of a rotation when every node that can be reached
// has taken over the state at index; it returns the names of those that have
// not. It waits a bounded time.
type Spread func(ctx context.Context, index uint64) (pending []string)

// Report is called at each step of a rotation.
type Report func(step string)

// Rotation is what a rotation did.
type Rotation struct {
	KeyID   string   // of the new key; never the key
	Pending []string // nodes that have not taken it over yet
	Kept    bool     // the old key stays valid: because of them, or for old data
}

// maxGossipKeys bounds the keys that unfinished rotations leave behind. A node
// that missed more gets the keys from a controller before it hears gossip.
const maxGossipKeys = 8

// RotateGossipKey replaces the key of gossip: first every node learns the new
// key, then it becomes the primary one, then the old ones go. A rotation that
// stopped half-way is begun anew by the next.
func (c *Controller) RotateGossipKey(ctx context.Context, spread Spread, report Report) (Rotation, error) {
	fresh := randomKey()
	sum := sha256.Sum256(fresh)
	out := Rotation{KeyID: hex.EncodeToString(sum[:4])}
	old, version, err := c.gossipKeys(ctx)
	if err != nil {
		return out, err
	}
	old = old[:min(len(old), maxGossipKeys-1)]
	for _, s := range []struct {
		name string
		keys [][]byte
	}{
		{"give every node the new key", append(slices.Clone(old), fresh)},
		{"send with the new key", append([][]byte{fresh}, old...)},
		{"forget the old key", [][]byte{fresh}},
	} {
		report(s.name)
		if err := c.putGossipKeys(ctx, s.keys, version); err != nil {
			return out, err
		}
		version++
		if len(s.keys) == 1 {
			return out, nil
		}
		if out.Pending = spread(ctx, c.cons.State().Applied()); len(out.Pending) > 0 {
			break // a node without the new key could not hear the others
		}
	}
	out.Kept = true
	return out, nil
}

func (c *Controller) gossipKeys(ctx context.Context) (keys [][]byte, version uint64, err error) {
	v, err := c.read(ctx)
	if err != nil {
		return nil, 0, err
	}
	raw, err := c.secret(v, gossipKeysSecret)
	if err != nil {
		return nil, 0, err
	}
	s, _ := consensus.Get[Secret](v, secretsTable, "id", gossipKeysSecret)
	if err := json.Unmarshal(raw, &keys); err != nil {
		return nil, 0, fmt.Errorf("gossip keys: %w", err)
	}
	return keys, s.Version, nil
}

// putGossipKeys writes the keys, unless somebody else did since version.
func (c *Controller) putGossipKeys(ctx context.Context, keys [][]byte, version uint64) error {
	raw, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	_, err = cmdSecrets.Propose(ctx, c.cons, secretsInput{
		Secrets: []Secret{c.sealed(gossipKeysSecret, raw)}, Versions: map[string]uint64{gossipKeysSecret: version},
	})
	return err
}

// RotateCA replaces the cluster's authority with overlap: first every node
// trusts the new one, then it signs and every node renews, then the old one
// is dropped. Join tokens made before carry the old digest and end with it.
// A rotation that stopped half-way is finished by the next: nodes must not
// collect authorities.
func (c *Controller) RotateCA(ctx context.Context, spread, renewed Spread, report Report) (Rotation, error) {
	v, err := c.read(ctx)
	if err != nil {
		return Rotation{}, err
	}
	next, active := unfinishedCA(v)
	out := Rotation{KeyID: next, Kept: true}
	if next == "" {
		report("make a new authority")
		if next, err = c.addAuthority(ctx, v); err != nil {
			return Rotation{}, err
		}
		out.KeyID = next
	}
	if !active {
		report("let every node trust the new authority")
		if out.Pending = spread(ctx, c.cons.State().Applied()); len(out.Pending) > 0 {
			return out, nil // whoever does not trust it would be cut off
		}
		report("sign with the new authority")
		if _, err := cmdAuthority.Propose(ctx, c.cons, authorityInput{Activate: next}); err != nil {
			return out, err
		}
	}
	report("renew every certificate")
	if out.Pending = renewed(ctx, c.cons.State().Applied()); len(out.Pending) > 0 {
		return out, nil
	}
	report("forget the old authority")
	if err := c.dropOldAuthorities(ctx, next); err != nil {
		return out, err
	}
	out.Kept = false
	return out, nil
}

// unfinishedCA finds the new authority of a rotation that stopped half-way,
// "" if there is none: one that is trusted and does not sign yet, or one that
// signs beside older ones.
func unfinishedCA(v *consensus.View) (digest string, active bool) {
	cas := Authorities(v, string(pki.ClusterCA))
	if len(cas) < 2 {
		return "", false
	}
	newest := slices.MaxFunc(cas, func(a, b Authority) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.Digest, b.Digest))
	})
	return newest.Digest, newest.Active
}

// addAuthority makes an authority that is trusted and does not sign yet.
func (c *Controller) addAuthority(ctx context.Context, v *consensus.View) (digest string, err error) {
	rec, _ := TheRecord(v)
	now := c.cfg.Now()
	for _, a := range Authorities(v, string(pki.ClusterCA)) {
		if !now.After(a.CreatedAt) { // the newest wins, also if this clock is behind
			now = a.CreatedAt.Add(time.Second)
		}
	}
	ca, err := pki.NewCA(rec.ClusterID, pki.ClusterCA, now)
	if err != nil {
		return "", err
	}
	key := c.sealed(authoritySecret(ca.Digest()), ca.KeyPEM())
	row := authorityRow(ca, now, false)
	_, err = cmdAuthority.Propose(ctx, c.cons, authorityInput{Trust: &row, Secret: &key})
	return ca.Digest(), err
}

func (c *Controller) dropOldAuthorities(ctx context.Context, keep string) error {
	v, err := c.read(ctx)
	if err != nil {
		return err
	}
	for _, a := range Authorities(v, string(pki.ClusterCA)) {
		if a.Digest == keep {
			continue
		}
		if _, err := cmdAuthority.Propose(ctx, c.cons, authorityInput{Drop: a.Digest}); err != nil {
			return err
		}
	}
	return nil
}

// RotateSealingKey adds a new sealing key, hands the ring to the other
// controllers (share returns those that did not take it), and seals every
// secret anew. Old keys stay: logs, snapshots and backups hold values that
// were sealed with them. Before anything is changed, every controller has to
// be there: one that missed the new key could not open what the others seal.
func (c *Controller) RotateSealingKey(ctx context.Context, share func(ctx context.Context, ring []byte) (pending []string), report Report) (Rotation, error) {
	out := Rotation{KeyID: c.ring.Primary(), Kept: true}
	report("reach every controller")
	if out.Pending = share(ctx, c.ring.Marshal()); len(out.Pending) > 0 {
		return out, nil
	}
	report("make a new sealing key and hand it to every controller")
	next := c.ring.Clone()
	id, err := next.Rotate(rand.Reader, c.cfg.Now())
	if err != nil {
		return out, err
	}
	out.KeyID = id
	// The others first: nothing is sealed here with a key that only this
	// disk holds. Who has it uses it at once, so it stays whatever happens.
	out.Pending = share(ctx, next.Marshal())
	if err := c.mergeRing(next); err != nil {
		return out, err
	}
	if len(out.Pending) > 0 {
		return out, nil // they could not open what is sealed anew
	}
	report("seal every secret with the new key")
	return out, c.resealAll(ctx, id)
}

// resealBatch is how many secrets one command seals anew: a command has at
// most 1 MiB.
const resealBatch = 200

// resealAll seals with the given key what is sealed with another. Secrets
// that change meanwhile are looked at again.
func (c *Controller) resealAll(ctx context.Context, key string) error {
	var last error
	for attempt := 0; attempt < 10; {
		v, err := c.read(ctx)
		if err != nil {
			return err
		}
		in, err := c.reseal(v, key)
		if err != nil {
			return err
		}
		if len(in.Secrets) == 0 {
			return nil
		}
		if _, last = cmdSecrets.Propose(ctx, c.cons, in); last == nil {
			continue
		}
		if !errors.Is(last, rpcerr.Conflict) {
			return last
		}
		attempt++
	}
	return last
}

// reseal makes the next batch.
func (c *Controller) reseal(v *consensus.View, key string) (secretsInput, error) {
	in := secretsInput{Versions: map[string]uint64{}}
	for _, s := range consensus.List[Secret](v, secretsTable, "id") {
		if have, err := seal.KeyID(s.Sealed); err == nil && have == key {
			continue
		}
		plain, err := c.secret(v, s.ID)
		if err != nil {
			return in, err
		}
		fresh := c.sealed(s.ID, plain)
		if now, err := seal.KeyID(fresh.Sealed); err != nil || now != key {
			return in, rpcerr.New(rpcerr.Conflict, "another sealing key was made meanwhile").WithHint("rotate again")
		}
		in.Versions[s.ID] = s.Version
		if in.Secrets = append(in.Secrets, fresh); len(in.Secrets) == resealBatch {
			break
		}
	}
	return in, nil
}

// MergeRing takes over the sealing keys that another controller sent.
func (c *Controller) MergeRing(by Caller, data []byte) error {
	if !by.Controller {
		return rpcerr.New(rpcerr.Denied, "only controllers hold the sealing keys")
	}
	other, err := seal.Unmarshal(data)
	if err != nil {
		return rpcerr.New(rpcerr.Invalid, "%v", err)
	}
	return c.mergeRing(other)
}

// mergeRing adds keys to a copy, saves it, and only then uses it: a crash in
// between leaves the old ring or the new one, never a key in use that is lost.
func (c *Controller) mergeRing(other *seal.Ring) error {
	c.ringMu.Lock()
	defer c.ringMu.Unlock()
	next := c.ring.Clone()
	if changed, err := next.Merge(other); err != nil || !changed {
		return err
	}
	if err := next.SaveFile(c.cfg.RingFile); err != nil {
		return err
	}
	_, err := c.ring.Merge(next)
	return err
}

// ringKeysInUse lists the ids of the keys that stored secrets are sealed with.
func ringKeysInUse(r consensus.Reader) []string {
	ids := map[string]bool{}
	for _, s := range consensus.List[Secret](r, secretsTable, "id") {
		if id, err := seal.KeyID(s.Sealed); err == nil {
			ids[id] = true
		}
	}
	out := []string{}
	for id := range ids {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// ResetAdmin gives the first administrator a new password and returns it.
func (c *Controller) ResetAdmin(ctx context.Context) (username, password string, err error) {
	password = NewPassword()
	_, err = cmdAdmin.Propose(ctx, c.cons, Admin{Username: "admin", Hash: HashPassword(password)})
	return "admin", password, err
}

// ExportRing returns the sealing keys encrypted under a passphrase, see
// [seal.Ring.Export], and the ids of the keys.
func (c *Controller) ExportRing(passphrase []byte) (data []byte, ids []string, err error) {
	for _, k := range c.ring.Keys() {
		ids = append(ids, k.ID)
	}
	data, err = c.ring.Export(passphrase)
	return data, ids, err
}

// HasRingKeys reports whether this controller holds all the given keys.
func (c *Controller) HasRingKeys(ids []string) bool {
	have := map[string]bool{}
	for _, k := range c.ring.Keys() {
		have[k.ID] = true
	}
	for _, id := range ids {
		if !have[id] {
			return false
		}
	}
	return true
}
