package local

import (
	"encoding/json"
	"time"

	"github.com/stackato/stackato/agent/node"
)

// ConfigEntry is a replicated setting.
type ConfigEntry struct {
	Key     string          `json:"key"`
	Value   json.RawMessage `json:"value"`
	Type    string          `json:"type"` // JSON type: string, number, boolean, array, object, null
	Set     bool            `json:"set"`  // false: Value is the default
	Version uint64          `json:"version"`
	// Modified is zero for a default.
	Modified    time.Time `json:"modified,omitzero"`
	Description string    `json:"description,omitempty"` // of known settings
}

// ConfigSetRequest writes a setting.
type ConfigSetRequest struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
	Force bool            `json:"force,omitempty"` // allow another JSON type
	// IfVersion, if not nil, demands that the entry has this version now
	// (0: is not set).
	IfVersion *uint64 `json:"if_version,omitempty"`
}

// TokenCreateRequest describes a join token.
type TokenCreateRequest struct {
	Roles []string      `json:"roles,omitempty"`  // roles or groups it allows; none means any
	TTL   time.Duration `json:"ttl_ns,omitempty"` // 0: the default, 1 h
	Uses  int           `json:"uses,omitempty"`   // 0: the default, 1
}

// Token is a join token without its secret.
type Token struct {
	ID        string       `json:"id"`
	Roles     node.RoleSet `json:"roles"` // allowed
	Uses      int          `json:"uses"`  // left
	CreatedAt time.Time    `json:"created_at"`
	ExpiresAt time.Time    `json:"expires_at"`
	Expired   bool         `json:"expired"`
}

// NewToken is a token just made: Secret is the whole text to hand to join,
// shown once.
type NewToken struct {
	Token
	Secret string `json:"token"`
}

// Credentials are a log-in.
type Credentials struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// KeyExportRequest asks for the sealing keys under a passphrase.
type KeyExportRequest struct {
	Passphrase []byte `json:"passphrase"` // at least 12 bytes, see seal.MinPassphrase
}

// KeyExport is the sealing keys in a file that only the passphrase opens.
type KeyExport struct {
	Data []byte   `json:"data"` // JSON text, safe to keep with backups
	Keys []string `json:"keys"` // ids of the keys in it
}

// RotateWhat names a key of the cluster.
type RotateWhat string

// What can be rotated.
const (
	RotateGossipKey  RotateWhat = "gossip-key"
	RotateCA         RotateWhat = "ca"
	RotateSealingKey RotateWhat = "sealing-key"
)

// RotateResult tells what a rotation did.
type RotateResult struct {
	What RotateWhat `json:"what"`
	// KeyID identifies the new key, never the key itself.
	KeyID string `json:"key_id"`
	Steps []Step `json:"steps"`
	// Pending are nodes that have not taken the new key yet; the cluster
	// keeps the old one valid until they have, or until OverlapUntil.
	Pending      []string  `json:"pending"`
	OverlapUntil time.Time `json:"overlap_until,omitzero"`
	Warnings     []string  `json:"warnings"`
}
