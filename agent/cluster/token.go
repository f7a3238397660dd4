package cluster

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// Bounds and defaults of join tokens.
const (
	DefaultTokenTTL = time.Hour
	maxTokenTTL     = 365 * 24 * time.Hour
	maxTokenUses    = 10000
	tokenPrefix     = "stk1"
)

var tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// JoinSecret is what a join token's text holds: it is a secret.
//
// The text is "stk1.ID.SECRET.DIGEST" in lower case: an identifier of 40
// bits, a secret of 160 bits, and the SHA-256 of the cluster authority's
// public key, by which a joining node knows that it talks to the right
// cluster.
type JoinSecret struct {
	ID     string
	Secret string
	Digest string // "sha256:…", as pki.Digest
}

// NewJoinSecret makes a token for the authority with the given digest.
func NewJoinSecret(digest string) JoinSecret {
	var b [25]byte
	rand.Read(b[:]) // never fails
	return JoinSecret{tokenEncoding.EncodeToString(b[:5]), tokenEncoding.EncodeToString(b[5:]), digest}
}

// Encode returns the text to hand to the operator.
func (s JoinSecret) Encode() string {
	raw, err := hex.DecodeString(strings.TrimPrefix(s.Digest, "sha256:"))
	if err != nil {
		raw = nil // the text will not parse; digests are made by pki
	}
	return strings.Join([]string{tokenPrefix, s.ID, s.Secret, tokenEncoding.EncodeToString(raw)}, ".")
}

// Hash is what the cluster keeps of the secret, see [hashSecret].
func (s JoinSecret) Hash() string { return hashSecret(s.Secret) }

// hashSecret makes what the cluster keeps: who reads a log, snapshot or backup
// cannot join with it. A plain hash is enough for 160 random bits.
func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// String hides the secret.
func (s JoinSecret) String() string { return tokenPrefix + "." + s.ID + ".…" }

// Format hides the secret, whatever the verb.
func (s JoinSecret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue hides the secret from every log handler.
func (s JoinSecret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// ParseJoinSecret reads a token's text; spaces around it are ignored. Errors
// never show it.
func ParseJoinSecret(text string) (JoinSecret, error) {
	bad := rpcerr.New(rpcerr.Invalid, "this is not a join token").
		WithHint("it begins with %q and is one line; make one on a controller: stackato-agent token create", tokenPrefix+".")
	text = strings.TrimSpace(text)
	if text == "" {
		return JoinSecret{}, rpcerr.New(rpcerr.Invalid, "no join token").
			WithHint("make one on a controller (stackato-agent token create) and give it with --token-file")
	}
	parts := strings.Split(text, ".")
	if len(text) > 200 || len(parts) != 4 || parts[0] != tokenPrefix {
		return JoinSecret{}, bad
	}
	lengths := [...]int{0, 5, 20, sha256.Size}
	var decoded [4][]byte
	for i := 1; i < 4; i++ {
		b, err := tokenEncoding.DecodeString(parts[i])
		if err != nil || len(b) != lengths[i] || tokenEncoding.EncodeToString(b) != parts[i] {
			return JoinSecret{}, bad
		}
		decoded[i] = b
	}
	return JoinSecret{ID: parts[1], Secret: parts[2], Digest: "sha256:" + hex.EncodeToString(decoded[3])}, nil
}

// CreateToken makes a join token for nodes with at most the given roles; no
// roles means every role but controller. ttl 0 is [DefaultTokenTTL], uses 0
// is 1. The secret is in the answer and nowhere else.
func (c *Controller) CreateToken(ctx context.Context, roles node.RoleSet, ttl time.Duration, uses int) (Token, JoinSecret, error) {
	if ttl == 0 {
		ttl = DefaultTokenTTL
	}
	if uses == 0 {
		uses = 1
	}
	if roles == 0 {
		roles = node.AllRoles().Without(node.NewRoleSet(node.Controller))
	}
	switch {
	case ttl < time.Second || ttl > maxTokenTTL:
		return Token{}, JoinSecret{}, rpcerr.New(rpcerr.Invalid, "a token lasts from 1 second to %d days, not %s", int(maxTokenTTL.Hours()/24), ttl)
	case uses < 1 || uses > maxTokenUses:
		return Token{}, JoinSecret{}, rpcerr.New(rpcerr.Invalid, "a token has 1 to %d uses, not %d", maxTokenUses, uses)
	}
	v, err := c.read(ctx)
	if err != nil {
		return Token{}, JoinSecret{}, err
	}
	ca, err := c.issuer(v)
	if err != nil {
		return Token{}, JoinSecret{}, err
	}
	secret := NewJoinSecret(ca.Digest())
	now := c.cfg.Now()
	t := Token{
		ID: secret.ID, SecretHash: secret.Hash(), Roles: roles.Normalize(), Uses: uses,
		CreatedAt: now, ExpiresAt: now.Add(ttl),
	}
	if _, err := cmdTokenPut.Propose(ctx, c.cons, t); err != nil {
		return Token{}, JoinSecret{}, err
	}
	return t, secret, nil
}

// ListTokens returns the join tokens.
func (c *Controller) ListTokens(ctx context.Context) ([]Token, error) {
	v, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	return Tokens(v), nil
}

// RevokeToken ends a token at once.
func (c *Controller) RevokeToken(ctx context.Context, id string) error {
	_, err := cmdTokenRevoke.Propose(ctx, c.cons, tokenRevoke{ID: id, Now: c.cfg.Now()})
	return err
}
