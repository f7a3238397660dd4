package cluster

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

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
	Kept    bool     // the old key stays valid because of them
}

// RotateGossipKey replaces the key of gossip: first every node learns the new
// key, then it becomes the primary one, then the old ones go. A rotation that
// stopped half-way is begun anew by the next.
func (c *Controller) RotateGossipKey(ctx context.Context, spread Spread, report Report) (Rotation, error) {
	fresh := randomKey()
	sum := sha256.Sum256(fresh)
	out := Rotation{KeyID: hex.EncodeToString(sum[:4])}
	old, err := c.gossipKeys(ctx)
	if err != nil {
		return out, err
	}
	report("give every node the new key")
	if err := c.putGossipKeys(ctx, append(slices.Clone(old), fresh)); err != nil {
		return out, err
	}
	if out.Pending = spread(ctx, c.cons.State().Applied()); len(out.Pending) > 0 {
		out.Kept = true
		return out, nil // a node without the new key could not hear the others
	}
	report("send with the new key")
	if err := c.putGossipKeys(ctx, append([][]byte{fresh}, old...)); err != nil {
		return out, err
	}
	if out.Pending = spread(ctx, c.cons.State().Applied()); len(out.Pending) > 0 {
		out.Kept = true
		return out, nil
	}
	report("forget the old key")
	return out, c.putGossipKeys(ctx, [][]byte{fresh})
}

func (c *Controller) gossipKeys(ctx context.Context) ([][]byte, error) {
	v, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := c.secret(v, gossipKeysSecret)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	if err := json.Unmarshal(raw, &keys); err != nil {
		return nil, fmt.Errorf("gossip keys: %w", err)
	}
	return keys, nil
}

func (c *Controller) putGossipKeys(ctx context.Context, keys [][]byte) error {
	raw, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	_, err = cmdSecrets.Propose(ctx, c.cons, secretsInput{Secrets: []Secret{c.sealed(gossipKeysSecret, raw)}})
	return err
}

// RotateCA replaces the cluster's authority with overlap: first every node
// trusts the new one, then it signs and every node renews, then the old one
// is dropped. Join tokens made before carry the old digest and end with it.
func (c *Controller) RotateCA(ctx context.Context, spread, renewed Spread, report Report) (Rotation, error) {
	v, err := c.read(ctx)
	if err != nil {
		return Rotation{}, err
	}
	rec, _ := TheRecord(v)
	ca, err := pki.NewCA(rec.ClusterID, pki.ClusterCA, c.cfg.Now())
	if err != nil {
		return Rotation{}, err
	}
	out := Rotation{KeyID: ca.Digest()}
	key := c.sealed(authoritySecret(ca.Digest()), ca.KeyPEM())
	row := authorityRow(ca, c.cfg.Now(), false)
	report("let every node trust the new authority")
	if _, err := cmdAuthority.Propose(ctx, c.cons, authorityInput{Trust: &row, Secret: &key}); err != nil {
		return out, err
	}
	if out.Pending = spread(ctx, c.cons.State().Applied()); len(out.Pending) > 0 {
		out.Kept = true // whoever does not trust it would be cut off
		return out, nil
	}
	report("sign with the new authority and renew every certificate")
	if _, err := cmdAuthority.Propose(ctx, c.cons, authorityInput{Activate: ca.Digest()}); err != nil {
		return out, err
	}
	if out.Pending = renewed(ctx, c.cons.State().Applied()); len(out.Pending) > 0 {
		out.Kept = true
		return out, nil
	}
	report("forget the old authority")
	return out, c.dropOldAuthorities(ctx, ca.Digest())
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
// controllers (share returns those that did not take it), seals every secret
// anew, and forgets the old keys when nobody can need them.
func (c *Controller) RotateSealingKey(ctx context.Context, share func(ctx context.Context, ring []byte) (pending []string), report Report) (Rotation, error) {
	report("make a new sealing key and hand it to every controller")
	id, err := c.changeRing(func(r *seal.Ring) (string, error) { return r.Rotate(rand.Reader, c.cfg.Now()) })
	if err != nil {
		return Rotation{}, err
	}
	out := Rotation{KeyID: id}
	if out.Pending = share(ctx, c.ring.Marshal()); len(out.Pending) > 0 {
		out.Kept = true // they could not open what is sealed anew
		return out, nil
	}
	report("seal every secret with the new key")
	if err := c.resealAll(ctx, id); err != nil {
		return out, err
	}
	report("keep the old keys for old logs, snapshots and backups")
	out.Kept = true
	return out, nil
}

func (c *Controller) resealAll(ctx context.Context, key string) error {
	v, err := c.read(ctx)
	if err != nil {
		return err
	}
	in := secretsInput{Versions: map[string]uint64{}}
	for _, s := range consensus.List[Secret](v, secretsTable, "id") {
		if have, err := seal.KeyID(s.Sealed); err == nil && have == key {
			continue
		}
		plain, err := c.secret(v, s.ID)
		if err != nil {
			return err
		}
		in.Versions[s.ID] = s.Version
		in.Secrets = append(in.Secrets, c.sealed(s.ID, plain))
	}
	_, err = cmdSecrets.Propose(ctx, c.cons, in)
	return err
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
	_, err = c.changeRing(func(r *seal.Ring) (string, error) {
		_, err := r.Merge(other)
		return "", err
	})
	return err
}

// changeRing changes a copy, saves it, and only then uses it: a crash between
// leaves the old ring or the new one, never a key that is in use and lost.
func (c *Controller) changeRing(change func(*seal.Ring) (string, error)) (string, error) {
	c.ringMu.Lock()
	defer c.ringMu.Unlock()
	next := c.ring.Clone()
	id, err := change(next)
	if err != nil {
		return "", err
	}
	if err := next.SaveFile(c.cfg.RingFile); err != nil {
		return "", err
	}
	_, err = c.ring.Merge(next)
	return id, err
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
