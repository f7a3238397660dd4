package uaa

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// keyring opens the signing keys of the state and keeps them open. It is safe
// for concurrent use.
type keyring struct {
	sealer state.Sealer

	mu      sync.Mutex
	private map[string]*rsa.PrivateKey // by kid
	public  map[string]*rsa.PublicKey
}

func newKeyring(s state.Sealer) *keyring {
	return &keyring{sealer: s, private: map[string]*rsa.PrivateKey{}, public: map[string]*rsa.PublicKey{}}
}

func keyContext(kid string) string { return "uaa:signing-key:" + kid }

// newKey makes an RSA key that signs from a time on.
func newKey(sealer state.Sealer, bits int, now, from time.Time) (cf.SigningKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return cf.SigningKey{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return cf.SigningKey{}, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return cf.SigningKey{}, err
	}
	id := make([]byte, 8)
	rand.Read(id) // never fails
	kid := "key-" + hex.EncodeToString(id)
	sealed, err := sealer.Seal(private, keyContext(kid))
	if err != nil {
		return cf.SigningKey{}, fmt.Errorf("seal the signing key: %w", err)
	}
	return cf.SigningKey{ID: kid, Private: sealed, Public: public, CreatedAt: now, SignsFrom: from}, nil
}

// signing returns the key that signs now: the newest one that has begun, or
// the oldest if none has.
func signing(keys []cf.SigningKey, now time.Time) (cf.SigningKey, bool) {
	for _, k := range keys { // the newest first
		if !now.Before(k.SignsFrom) {
			return k, true
		}
	}
	if len(keys) == 0 {
		return cf.SigningKey{}, false
	}
	return keys[len(keys)-1], true
}

func (r *keyring) openPrivate(k cf.SigningKey) (*rsa.PrivateKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key, ok := r.private[k.ID]; ok {
		return key, nil
	}
	plain, err := r.sealer.Open(k.Private, keyContext(k.ID))
	if err != nil {
		return nil, fmt.Errorf("open the signing key %s: %w", k.ID, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, fmt.Errorf("the signing key %s: %w", k.ID, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the signing key %s is a %T", k.ID, parsed)
	}
	r.private[k.ID] = key
	return key, nil
}

func (r *keyring) openPublic(k cf.SigningKey) (*rsa.PublicKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key, ok := r.public[k.ID]; ok {
		return key, nil
	}
	parsed, err := x509.ParsePKIXPublicKey(k.Public)
	if err != nil {
		return nil, fmt.Errorf("the signing key %s: %w", k.ID, err)
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the signing key %s is a %T", k.ID, parsed)
	}
	r.public[k.ID] = key
	return key, nil
}

// rotateKeys adds a key when the newest is older than life, or missing, and
// forgets those that no valid token can be signed with.
func (s *Server) rotateKeys(ctx context.Context) error {
	view, err := s.cfg.State.Read(ctx)
	if err != nil {
		return err
	}
	now := s.cfg.Now()
	keys := view.SigningKeys()
	change := state.KeyChange{}
	if len(keys) > 0 {
		change.Newest = keys[0].ID
	}
	if len(keys) == 0 || now.Sub(keys[0].CreatedAt) >= s.cfg.KeyLife {
		from := now
		if len(keys) > 0 {
			from = now.Add(s.cfg.KeyNotice)
		}
		key, err := newKey(s.cfg.Sealer, s.cfg.keyBits, now, from)
		if err != nil {
			return err
		}
		change.Add = &key
	}
	change.Forget = s.outlived(keys, now)
	if change.Add == nil && len(change.Forget) == 0 {
		return nil
	}
	if err := s.cfg.State.ChangeSigningKeys(ctx, change); !errors.Is(err, cf.ErrUniqueness) {
		return err
	}
	return nil // another controller was faster
}

// outlived are the keys whose successor has signed for longer than any token
// lasts.
func (s *Server) outlived(keys []cf.SigningKey, now time.Time) []string {
	var out []string
	for i := 1; i < len(keys); i++ {
		if now.Sub(keys[i-1].SignsFrom) > maxAccessLife+time.Hour {
			out = append(out, keys[i].ID)
		}
	}
	return out
}
