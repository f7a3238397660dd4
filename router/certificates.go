package router

import (
	"crypto/tls"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/stackato/stackato/router/table"
)

// Certificates finds certificates by server name. The zero value is empty. All
// methods may be called concurrently.
type Certificates struct {
	// Default serves clients that ask for a name without a certificate, or for
	// none, when Set was not called or gave no default; nil: they are refused.
	Default func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	held atomic.Pointer[certificates]
}

type certificates struct {
	byName    map[string]*tls.Certificate // "*.…" too
	byDefault *tls.Certificate
}

// Set replaces all certificates. byName has the names that each is for, in lower
// case, "*.example.com" for a wildcard; byDefault serves clients that ask for
// another name or for none, and may be nil: such clients are refused then.
func (c *Certificates) Set(byDefault *tls.Certificate, byName map[string]*tls.Certificate) {
	c.held.Store(&certificates{byName: byName, byDefault: byDefault})
}

// Get is a tls.Config's GetCertificate: the certificate of the name, of the
// wildcard one label above, or the default.
func (c *Certificates) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	held := c.held.Load()
	if held == nil {
		if c.Default != nil {
			return c.Default(hello)
		}
		return nil, errors.New("router has no certificates yet")
	}
	if name := table.Host(hello.ServerName); name != "" {
		if found := held.byName[name]; found != nil {
			return found, nil
		}
		if _, rest, ok := strings.Cut(name, "."); ok {
			if found := held.byName["*."+rest]; found != nil {
				return found, nil
			}
		}
	}
	if held.byDefault == nil && c.Default != nil {
		return c.Default(hello)
	}
	if held.byDefault == nil {
		return nil, errors.New("router has no certificate for this name and no default")
	}
	return held.byDefault, nil
}
