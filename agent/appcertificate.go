package agent

import (
	"context"
	"crypto"
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/internal/atomicfile"
)

// appCertificateRetry is the pause after a certificate could not be had, and
// between two looks at its age.
const appCertificateRetry = 500 * time.Millisecond

// appCertificate is the certificate that this node's router shows to the
// world, signed by the cluster's router CA. It is kept on disk, so that a
// router starts while no controller is up.
type appCertificate struct {
	r *runtime

	mu   sync.RWMutex
	cert *tls.Certificate
}

func newAppCertificate(r *runtime) *appCertificate { return &appCertificate{r: r} }

// get implements the callback of tls.Config.
func (c *appCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.cert == nil {
		return nil, errNoAppCertificate
	}
	return c.cert, nil
}

// run gets the certificate and renews it when a third of its life is left.
func (c *appCertificate) run(ctx context.Context) error {
	if err := c.load(); err != nil && !os.IsNotExist(err) {
		c.r.log.Warn("the router's certificate on disk cannot be used; a new one is requested", "err", err)
	}
	tick := time.NewTicker(appCertificateRetry)
	defer tick.Stop()
	for last := ""; ; {
		if c.due(c.r.cfg.Now()) {
			err := c.request(ctx)
			if err != nil && ctx.Err() == nil && err.Error() != last {
				c.r.log.Warn("get the router's certificate; will go on trying", "err", err)
				last = err.Error()
			}
			if err == nil {
				last = ""
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// due reports whether a new certificate is wanted.
func (c *appCertificate) due(now time.Time) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.cert == nil {
		return true
	}
	leaf := c.cert.Leaf
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return now.After(leaf.NotAfter.Add(-life / 3))
}

func (c *appCertificate) request(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	key, err := pki.NewKey()
	if err != nil {
		return err
	}
	csr, err := pki.CSR(key, c.r.id.ID)
	if err != nil {
		return err
	}
	resp, err := c.r.requestAppCertificate(ctx, csr)
	if err != nil {
		return err
	}
	if err := c.save(key, resp.Certificate, resp.Authorities); err != nil {
		return err
	}
	return c.load()
}

// save writes the key last: a certificate without its key is not used.
func (c *appCertificate) save(key crypto.Signer, cert, authorities []byte) error {
	text, err := pki.EncodeKey(key)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(c.r.cfg.routerCAFile(), authorities, 0o644); err != nil {
		return err
	}
	return atomicfile.Write(c.r.cfg.routerCertFile(), append(text, append(cert, authorities...)...), 0o600)
}

// load reads key and certificate from the one file that holds both.
func (c *appCertificate) load() error {
	text, err := os.ReadFile(c.r.cfg.routerCertFile())
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.r.cfg.routerCertFile(), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cert = &pair
	return nil
}
