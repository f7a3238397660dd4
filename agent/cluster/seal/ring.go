package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	formatVersion = 1
	idSize        = 4
	headerSize    = 1 + idSize
	// Overhead is how much longer a sealed text is than the plain one.
	Overhead = headerSize + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
	// maxKeys bounds a ring: rotations that never forget are a mistake.
	maxKeys = 64
)

// ErrTampered says that a sealed text is not what was sealed: it was changed,
// cut, moved to another place, or never was one.
var ErrTampered = errors.New("sealed text was changed, or belongs to another place")

// UnknownKeyError says that the ring lacks the key of a sealed text.
type UnknownKeyError struct {
	ID string
}

// Error says what to do.
func (e UnknownKeyError) Error() string {
	return fmt.Sprintf("the sealing key %s is not in this node's key ring: fetch the ring from another controller, or import a backup of it", e.ID)
}

// KeyInfo describes a key without showing it.
type KeyInfo struct {
	ID      string    `json:"id"` // 8 hex digits, random
	Created time.Time `json:"created"`
	Primary bool      `json:"primary"` // seals; the others only open
}

type key struct {
	id      [idSize]byte
	created time.Time
	secret  [chacha20poly1305.KeySize]byte
	aead    cipher.AEAD
}

func (k *key) name() string { return hex.EncodeToString(k.id[:]) }

// Ring is a set of keys of which one, the primary, seals. All methods are
// safe for concurrent use. The zero Ring has no key and must not be used.
// Printing it shows no key.
type Ring struct {
	mu   sync.RWMutex
	keys []*key // newest first; the first is the primary
}

// NewRing makes a ring with one key. random is crypto/rand.Reader outside of
// tests.
func NewRing(random io.Reader, now time.Time) (*Ring, error) {
	r := &Ring{}
	if _, err := r.Rotate(random, now); err != nil {
		return nil, err
	}
	return r, nil
}

func newKey(id [idSize]byte, created time.Time, secret []byte) (*key, error) {
	aead, err := chacha20poly1305.NewX(secret)
	if err != nil {
		return nil, err
	}
	k := &key{id: id, created: created.UTC(), aead: aead}
	copy(k.secret[:], secret)
	return k, nil
}

// Rotate adds a new key, makes it the primary and returns its id; older keys
// still open. Every controller must have the new ring before something sealed
// by it is replicated: rotate a [Ring.Clone], hand it over, then
// [Ring.Merge] it.
func (r *Ring) Rotate(random io.Reader, now time.Time) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) >= maxKeys {
		return "", fmt.Errorf("the key ring holds %d keys: forget unused ones first", maxKeys)
	}
	var (
		id     [idSize]byte
		secret [chacha20poly1305.KeySize]byte
	)
	for range 8 { // a clash of random ids is unlikely, not impossible
		if _, err := io.ReadFull(random, id[:]); err != nil {
			return "", fmt.Errorf("make sealing key: %w", err)
		}
		if r.find(id) != nil {
			continue
		}
		if _, err := io.ReadFull(random, secret[:]); err != nil {
			return "", fmt.Errorf("make sealing key: %w", err)
		}
		// The newest key is the primary on every node, also if the clock of
		// the node that rotates is behind.
		if len(r.keys) > 0 && !now.After(r.keys[0].created) {
			now = r.keys[0].created.Add(time.Nanosecond)
		}
		k, err := newKey(id, now, secret[:])
		if err != nil {
			return "", err
		}
		r.keys = slices.Insert(r.keys, 0, k)
		return k.name(), nil
	}
	return "", errors.New("make sealing key: the source of randomness repeats itself")
}

// Forget removes a key that nothing is sealed with any more. The primary
// cannot be forgotten.
func (r *Ring) Forget(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.keys, func(k *key) bool { return k.name() == id })
	switch {
	case i < 0:
		return UnknownKeyError{ID: id}
	case i == 0:
		return fmt.Errorf("the sealing key %s is the primary: rotate first", id)
	}
	r.keys = slices.Delete(r.keys, i, i+1)
	return nil
}

// Merge adds the keys of other that are missing here; the newest of all
// becomes the primary. It reports whether anything changed. Merging the same
// rings in any order gives the same ring.
func (r *Ring) Merge(other *Ring) (bool, error) {
	theirs := other.snapshot()
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := slices.Clone(r.keys)
	for _, k := range theirs {
		mine := find(keys, k.id)
		if mine == nil {
			keys = append(keys, k)
		} else if mine.secret != k.secret {
			return false, fmt.Errorf("two different sealing keys have the id %s: the key rings are of different clusters", k.name())
		}
	}
	if len(keys) > maxKeys {
		return false, fmt.Errorf("the merged key ring would hold %d keys, allowed are %d: forget unused ones first", len(keys), maxKeys)
	}
	sortKeys(keys)
	changed := len(keys) != len(r.keys)
	r.keys = keys
	return changed, nil
}

// sortKeys puts the newest first; of equal times the greater id, so that all
// nodes agree.
func sortKeys(keys []*key) {
	slices.SortFunc(keys, func(a, b *key) int {
		if c := b.created.Compare(a.created); c != 0 {
			return c
		}
		return bytes.Compare(b.id[:], a.id[:])
	})
}

// Clone returns an independent copy.
func (r *Ring) Clone() *Ring { return &Ring{keys: r.snapshot()} }

// Keys describes the keys, primary first.
func (r *Ring) Keys() []KeyInfo {
	var out []KeyInfo
	for i, k := range r.snapshot() {
		out = append(out, KeyInfo{ID: k.name(), Created: k.created, Primary: i == 0})
	}
	return out
}

// Primary returns the id of the key that seals.
func (r *Ring) Primary() string { return r.snapshot()[0].name() }

// Seal encrypts plaintext with the primary key and binds it to aad, which
// must be given again to open it: name the place it is stored in. It uses a
// random 24-byte nonce, so the same plaintext never gives the same text twice.
func (r *Ring) Seal(plaintext, aad []byte) []byte {
	k := r.snapshot()[0]
	out := make([]byte, headerSize+chacha20poly1305.NonceSizeX, len(plaintext)+Overhead)
	out[0] = formatVersion
	copy(out[1:], k.id[:])
	nonce := out[headerSize:]
	rand.Read(nonce) // never fails (crypto/rand)
	return k.aead.Seal(out, nonce, plaintext, bind(out[:headerSize], aad))
}

// Open decrypts what [Ring.Seal] made with the same aad. The error is
// [UnknownKeyError] if the ring lacks the key, else [ErrTampered].
func (r *Ring) Open(sealed, aad []byte) ([]byte, error) {
	id, err := keyID(sealed)
	if err != nil {
		return nil, err
	}
	r.mu.RLock()
	k := r.find(id)
	r.mu.RUnlock()
	if k == nil {
		return nil, UnknownKeyError{ID: hex.EncodeToString(id[:])}
	}
	header, rest := sealed[:headerSize], sealed[headerSize:]
	nonce, ciphertext := rest[:chacha20poly1305.NonceSizeX], rest[chacha20poly1305.NonceSizeX:]
	plain, err := k.aead.Open(nil, nonce, ciphertext, bind(header, aad))
	if err != nil {
		return nil, ErrTampered
	}
	return plain, nil
}

// KeyID returns the id of the key that sealed a text, so that a rotation can
// find what is still to be sealed anew.
func KeyID(sealed []byte) (string, error) {
	id, err := keyID(sealed)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(id[:]), nil
}

func keyID(sealed []byte) (id [idSize]byte, err error) {
	if len(sealed) < Overhead {
		return id, fmt.Errorf("%w: %d bytes are too short", ErrTampered, len(sealed))
	}
	if sealed[0] != formatVersion {
		return id, fmt.Errorf("%w: unknown format version %d", ErrTampered, sealed[0])
	}
	copy(id[:], sealed[1:headerSize])
	return id, nil
}

// bind joins header and caller's data; the header has a fixed size, so the
// join is not ambiguous.
func bind(header, aad []byte) []byte {
	return append(slices.Clip(slices.Clone(header)), aad...)
}

func (r *Ring) snapshot() []*key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Clone(r.keys)
}

func (r *Ring) find(id [idSize]byte) *key { return find(r.keys, id) }

func find(keys []*key, id [idSize]byte) *key {
	i := slices.IndexFunc(keys, func(k *key) bool { return k.id == id })
	if i < 0 {
		return nil
	}
	return keys[i]
}

// String names the ring by its primary key, without secrets.
func (r *Ring) String() string { return "seal.Ring(" + r.Primary() + ")" }

// GoString hides the keys from %#v.
func (r *Ring) GoString() string { return r.String() }
