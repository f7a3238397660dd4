package member

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/memberlist"
)

// MaxKeys is the most keys that a ring holds: a packet that none of them opens
// costs one attempt per key.
const MaxKeys = 4

// Errors of the key ring.
var (
	ErrNoKey       = errors.New("the gossip key ring is empty: gossip is always encrypted, give it the cluster's key")
	ErrUnknownKey  = errors.New("the gossip key is not in the ring: install it on every member first")
	ErrPrimaryKey  = errors.New("the gossip key is the one in use: use another one on every member before removing it")
	ErrTooManyKeys = fmt.Errorf("the gossip key ring holds %d keys already: remove an old one first", MaxKeys)
)

// NewKey returns a fresh random key of 32 bytes (AES-256).
func NewKey() []byte {
	k := make([]byte, 32)
	_, _ = rand.Read(k) // never fails
	return k
}

// KeyFingerprint names a key without giving it away: 12 hex digits that
// operators and logs may see.
func KeyFingerprint(key []byte) string {
	sum := sha256.Sum256(append([]byte("stackato gossip key\x00"), key...))
	return hex.EncodeToString(sum[:6])
}

// ring guards memberlist's key ring. All methods are safe for concurrent use.
type ring struct {
	mu sync.Mutex // one change at a time
	kr *memberlist.Keyring
}

func newRing(keys [][]byte) (*ring, error) {
	if len(keys) == 0 {
		return nil, ErrNoKey
	}
	if len(keys) > MaxKeys {
		return nil, fmt.Errorf("gossip: %d keys given, a ring holds at most %d", len(keys), MaxKeys)
	}
	cp := make([][]byte, 0, len(keys))
	for i, k := range keys {
		if err := memberlist.ValidateKey(k); err != nil {
			return nil, fmt.Errorf("gossip: key %d has %d bytes: use 32 (or 16, or 24)", i+1, len(k))
		}
		cp = append(cp, bytes.Clone(k))
	}
	kr, err := memberlist.NewKeyring(cp, cp[0])
	if err != nil {
		return nil, fmt.Errorf("gossip: key ring: %w", err)
	}
	return &ring{kr: kr}, nil
}

func (r *ring) keys() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out [][]byte
	for _, k := range r.kr.GetKeys() {
		out = append(out, bytes.Clone(k))
	}
	return out
}

func (r *ring) install(key []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := memberlist.ValidateKey(key); err != nil {
		return fmt.Errorf("gossip: a key has %d bytes: use 32 (or 16, or 24)", len(key))
	}
	keys := r.kr.GetKeys()
	if index(keys, key) < 0 && len(keys) >= MaxKeys {
		return ErrTooManyKeys
	}
	return r.kr.AddKey(bytes.Clone(key))
}

func (r *ring) use(key []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if index(r.kr.GetKeys(), key) < 0 {
		return ErrUnknownKey
	}
	return r.kr.UseKey(bytes.Clone(key))
}

// remove takes a key out. A key that is not there is no error, so that an
// interrupted rotation can be run again.
//
// memberlist's RemoveKey shifts the slice that its readers iterate over
// without a lock; only removing the last key leaves that slice alone. So the
// keys behind it are taken off first and put back after.
func (r *ring) remove(key []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := r.kr.GetKeys()
	i := index(keys, key)
	switch {
	case i < 0:
		return nil
	case i == 0:
		return ErrPrimaryKey
	}
	behind := append([][]byte(nil), keys[i+1:]...)
	for j := len(keys) - 1; j >= i; j-- {
		if err := r.kr.RemoveKey(keys[j]); err != nil {
			return fmt.Errorf("gossip: remove key: %w", err)
		}
	}
	for _, k := range behind {
		if err := r.kr.AddKey(k); err != nil {
			return fmt.Errorf("gossip: keep key: %w", err)
		}
	}
	return nil
}

func index(keys [][]byte, key []byte) int {
	for i, k := range keys {
		if bytes.Equal(k, key) {
			return i
		}
	}
	return -1
}

// Keys returns a copy of the ring, the one in use first.
func (g *Gossip) Keys() [][]byte { return g.ring.keys() }

// InstallKey adds a key for reading only. It is the first step of a rotation;
// every member takes it before any takes the next. A key that is there
// already is no error.
func (g *Gossip) InstallKey(key []byte) error { return g.ring.install(key) }

// UseKey makes an installed key the one that encrypts. Members that do not
// have it yet no longer understand this one: install it on all of them first.
func (g *Gossip) UseKey(key []byte) error { return g.ring.use(key) }

// RemoveKey takes a key out of the ring. Members that still encrypt with it
// are no longer understood. The key in use cannot be removed; one that is not
// there is no error.
func (g *Gossip) RemoveKey(key []byte) error { return g.ring.remove(key) }
