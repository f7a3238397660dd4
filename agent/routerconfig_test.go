package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/wire/routing"
)

// routersOnly is a platform without a Cloud Controller, whose router does
// nothing but keep what it was given.
type routersOnly struct {
	mu  sync.Mutex
	env RouterEnv
}

func (p *routersOnly) Register(*consensus.Registry) {}

func (p *routersOnly) Controller(ControllerEnv) (CloudController, error) { return idleCloud{}, nil }

func (p *routersOnly) Router(env RouterEnv) (Router, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.env = env
	return idleRouter{prometheus.NewRegistry()}, nil
}

// config is what the router of the machine works from now.
func (p *routersOnly) config() (RouterConfig, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.env.Config == nil {
		return RouterConfig{}, errors.New("no router was made")
	}
	c, _ := p.env.Config()
	return c, nil
}

type idleCloud struct{ CloudController }

func (idleCloud) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
func (idleCloud) Lead(ctx context.Context, _ uint64) { <-ctx.Done() }
func (idleCloud) Ready() error                       { return nil }

type idleRouter struct{ prometheus.Collector }

func (idleRouter) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
func (idleRouter) Withdraw(context.Context, routing.Withdrawal) error { return nil }
func (idleRouter) Ready() error                                       { return nil }

// siteCertificate makes a self-signed certificate and its key, PEM.
func siteCertificate(t testing.TB, notAfter time.Time, host string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

// TestRoutersAreConfigured: a certificate and trusted proxies come to the
// router of every node that has one, hold when it starts while no controller
// is up, and go again; a node without a router gets no keys.
func TestRoutersAreConfigured(t *testing.T) {
	t.Parallel()
	platforms := map[string]*routersOnly{}
	g := &group{t: t}
	for i, roles := range []string{"", "router", ""} {
		m := newMachine(t, fmt.Sprintf("n%d", i+1))
		p := &routersOnly{}
		m.plat, platforms[m.name] = p, p
		m.start()
		if i == 0 {
			m.initialise("router")
		} else {
			m.join(g.machines[0], strings.Fields(roles)...)
		}
		g.machines = append(g.machines, m)
		t.Cleanup(g.cancel)
	}
	g.settle()
	n1, n2, n3 := g.machines[0], g.machines[1], g.machines[2]

	cert, key := siteCertificate(t, time.Now().Add(10*day), "shop.example.com")
	added, err := n1.CertificateAdd(n1.ctx(), local.CertificateAddRequest{Name: "shop", Cert: cert, Key: key})
	if err != nil || added.State != local.CertificateSoon || added.ExpiresInDays != 9 {
		t.Fatalf("%+v, %v", added, err)
	}
	for setting, value := range map[string]string{"router/trusted_proxies": `["10.1.0.0/16"]`, "router/drain_wait_seconds": "7", "router/stall_seconds": "8"} {
		if _, err := n1.ConfigSet(n1.ctx(), local.ConfigSetRequest{Key: setting, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = n1.ConfigSet(n1.ctx(), local.ConfigSetRequest{Key: "router/trusted_proxies", Value: []byte(`["0.0.0.0/0"]`)})
	wantError(t, err, local.CodeInvalid, "everybody")
	configured := func(m *machine, certificates, proxies int) {
		t.Helper()
		eventually(t, m.name+"'s router is configured", func() error {
			c, err := platforms[m.name].config()
			if err == nil && (len(c.Certificates) != certificates || len(c.TrustedProxies) != proxies || c.DrainWait != 7*time.Second || c.Stall != 8*time.Second) {
				err = fmt.Errorf("it has %+v", c)
			}
			return err
		})
	}
	configured(n1, 1, 1)
	configured(n2, 1, 1)
	c, _ := platforms["n2"].config()
	if leaf := c.Certificates["shop.example.com"].Leaf; leaf.DNSNames[0] != "shop.example.com" || c.TrustedProxies[0] != netip.MustParsePrefix("10.1.0.0/16") {
		t.Errorf("n2 works from %+v", c)
	}

	for name, content := range n3.files() {
		if strings.Contains(content, string(key[30:60])) || strings.HasSuffix(name, "router-config.json") {
			t.Errorf("a node without a router has %s", name)
		}
	}
	if info, err := os.Stat(n2.cfg.routerConfigFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the router's file: %v, %v", info, err)
	}
	if strings.Contains(n1.logs.String()+n2.logs.String(), "PRIVATE KEY") {
		t.Error("the key is in a log")
	}

	findings, err := n1.Inspect(n1.ctx(), []string{"certificates"}, nil)
	if err != nil || !strings.Contains(fmt.Sprint(findings), "the routers' certificate shop ends on") {
		t.Errorf("kato inspect says %v, %v", findings, err)
	}

	// Without any controller.
	n1.stop()
	*platforms["n2"] = routersOnly{}
	n2.restart()
	configured(n2, 1, 1)
	n1.start()
	g.settle()
	if err := n1.CertificateRemove(n1.ctx(), "shop"); err != nil {
		t.Fatal(err)
	}
	configured(n2, 0, 1)
	err = n1.CertificateRemove(n1.ctx(), "shop")
	wantError(t, err, local.CodeNotFound, "no certificate")
	list, err := n1.CertificateList(n1.ctx())
	if err != nil || len(list) != 0 {
		t.Errorf("left over: %v, %v", list, err)
	}
}
