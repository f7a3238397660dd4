package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/internal/atomicfile"
)

// routerConfigWait is how long one question for news of the configuration
// waits for some, routerConfigPause what follows a failed one.
const (
	routerConfigWait  = 20 * time.Second
	routerConfigPause = 500 * time.Millisecond
)

// routerConfig is what operators decide about all routers, as this node's
// router works from it. It is kept on disk, readable for root alone as the
// node's own key is, so that a router shows the right certificates when it
// starts while no controller is up.
type routerConfig struct {
	r *runtime

	mu      sync.Mutex
	digest  string
	now     RouterConfig
	changed chan struct{}
}

func newRouterConfig(r *runtime) *routerConfig {
	c := &routerConfig{r: r, changed: make(chan struct{})}
	text, err := os.ReadFile(r.cfg.routerConfigFile())
	if err == nil {
		err = c.load(text)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Warn("the configuration of routers on disk cannot be used; it is asked for anew", "err", err)
	}
	return c
}

// watch implements RouterEnv.Config.
func (c *routerConfig) watch() (RouterConfig, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now, c.changed
}

// run follows the configuration until ctx is done.
func (c *routerConfig) run(ctx context.Context) error {
	for last := ""; ctx.Err() == nil; {
		err := c.follow(ctx)
		if err == nil {
			last = ""
			continue
		}
		if ctx.Err() == nil && err.Error() != last {
			c.r.log.Warn("get the configuration of routers; will go on trying", "err", err)
			last = err.Error()
		}
		select {
		case <-ctx.Done():
		case <-time.After(routerConfigPause):
		}
	}
	return nil
}

// follow waits for one change.
func (c *routerConfig) follow(ctx context.Context) error {
	c.mu.Lock()
	have := c.digest
	c.mu.Unlock()
	resp, err := ask(ctx, c.r, cluster.MethodRouterConfig, &cluster.RouterConfigRequest{Have: have, Wait: routerConfigWait})
	if err != nil || resp.Same {
		return err
	}
	text, err := json.Marshal(resp.Config)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(c.r.cfg.routerConfigFile(), text, 0o600); err != nil {
		return err
	}
	if err := c.load(text); err != nil {
		return err
	}
	c.r.log.Info("routers are configured anew", "certificates", len(resp.Config.Certificates), "trusted_proxies", len(resp.Config.TrustedProxies),
		"proxy_protocol", resp.Config.ProxyProtocol)
	return nil
}

// load takes over a configuration. A certificate that cannot be used does not
// keep the others from being shown.
func (c *routerConfig) load(text []byte) error {
	var in cluster.RouterConfig
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("%s: %w", c.r.cfg.routerConfigFile(), err)
	}
	out := RouterConfig{
		Certificates: map[string]*tls.Certificate{}, ProxyProtocol: in.ProxyProtocol,
		Idle: time.Duration(in.IdleSeconds) * time.Second, Response: time.Duration(in.ResponseSeconds) * time.Second,
		Stall: time.Duration(in.StallSeconds) * time.Second, DrainWait: time.Duration(in.DrainWaitSeconds) * time.Second,
	}
	for _, cert := range in.Certificates {
		pair, err := tls.X509KeyPair(cert.Cert, cert.Key)
		if err != nil {
			c.r.log.Error("a certificate cannot be used", "certificate", cert.Name, "err", err)
			continue
		}
		for _, host := range cert.Hosts {
			out.Certificates[host] = &pair
		}
	}
	for _, s := range in.TrustedProxies {
		if p, err := netip.ParsePrefix(s); err == nil { // controllers have checked it
			out.TrustedProxies = append(out.TrustedProxies, p)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.digest = out, in.Digest()
	close(c.changed)
	c.changed = make(chan struct{})
	return nil
}
