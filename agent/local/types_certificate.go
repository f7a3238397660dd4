package local

import (
	"log/slog"
	"time"
)

// CertificateAddRequest gives routers a certificate for the operator's own
// domains.
type CertificateAddRequest struct {
	Name    string `json:"name"`
	Cert    []byte `json:"cert"` // PEM: the certificate, then its chain
	Key     []byte `json:"key"`  // PEM, without a passphrase
	Replace bool   `json:"replace,omitempty"`
}

func (r CertificateAddRequest) audit() []slog.Attr {
	return []slog.Attr{slog.String("name", clip(r.Name)), slog.Bool("replace", r.Replace)}
}

// Certificate is one of them, without its key.
type Certificate struct {
	Name     string    `json:"name"`
	Hosts    []string  `json:"hosts"` // "*.…" for wildcards
	NotAfter time.Time `json:"not_after"`
	// ExpiresInDays is negative after the end; State is "valid", "expires
	// soon" (within 30 days) or "expired".
	ExpiresInDays int              `json:"expires_in_days"`
	State         CertificateState `json:"state"`
	Modified      time.Time        `json:"modified"`
}

// CertificateState says how long a certificate will do.
type CertificateState string

// States of certificates.
const (
	CertificateValid   CertificateState = "valid"
	CertificateSoon    CertificateState = "expires soon"
	CertificateExpired CertificateState = "expired"
)
