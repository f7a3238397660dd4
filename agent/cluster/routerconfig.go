package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/stackato/stackato/agent/consensus"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/rpcerr"
)

// RouterConfig is what operators decide about all routers. It holds keys.
type RouterConfig struct {
	Certificates []RouterCertificate `json:"certificates"`
	// TrustedProxies are networks in CIDR form; ProxyProtocol says that
	// connections from them begin with a PROXY header.
	TrustedProxies []string `json:"trusted_proxies"`
	ProxyProtocol  bool     `json:"proxy_protocol"`
	// Seconds that idle connections of clients are kept, in which an app must
	// begin to answer, and that a client may stand still in the middle of a
	// request or an answer.
	IdleSeconds     int `json:"idle_seconds"`
	ResponseSeconds int `json:"response_seconds"`
	StallSeconds    int `json:"stall_seconds"`
	// DrainWaitSeconds is how long a router that ends goes on after it has said so.
	DrainWaitSeconds int `json:"drain_wait_seconds"`
}

// RouterCertificate is a certificate with its key, PEM.
type RouterCertificate struct {
	Name  string   `json:"name"`
	Hosts []string `json:"hosts"`
	Cert  []byte   `json:"cert"`
	Key   []byte   `json:"key"`
}

// Format hides the keys, whatever the verb.
func (c RouterConfig) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "configuration of routers with %d certificates", len(c.Certificates))
}

// LogValue hides the keys from every log handler.
func (c RouterConfig) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// Digest identifies the content.
func (c RouterConfig) Digest() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("cluster: encode configuration of routers: %v", err)) // plain data
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// RouterConfigResponse is the configuration, or that it is what the caller has.
type RouterConfigResponse struct {
	Same   bool         `json:"same"`
	Config RouterConfig `json:"config"`
}

// RouterConfigRequest asks for it as soon as its digest is not Have, or after
// Wait.
type RouterConfigRequest struct {
	Have string        `json:"have"`
	Wait time.Duration `json:"wait_ns"`
}

// WatchRouterConfig returns the configuration of routers as soon as its digest
// is not have, or after wait. The caller is a node with the router role: it
// gets keys.
func (c *Controller) WatchRouterConfig(ctx context.Context, id node.ID, have string, wait time.Duration) (RouterConfig, error) {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var out RouterConfig
	var err error
	for news := false; !news && waiting.Err() == nil; {
		watching, stop := context.WithCancel(waiting)
		// Its own error only says that the wait ended.
		_ = c.cons.State().Watch(watching, func(v *consensus.View) {
			out, err = c.routerConfig(v, id)
			if news = !errors.Is(err, errBehind) && (err != nil || out.Digest() != have); news {
				stop()
			}
		})
		stop()
	}
	if errors.Is(err, rpcerr.Denied) { // this controller may only be behind
		v, rerr := c.read(ctx)
		if rerr != nil {
			return RouterConfig{}, rerr
		}
		return c.routerConfig(v, id)
	}
	return out, err
}

func (c *Controller) routerConfig(v consensus.Reader, id node.ID) (RouterConfig, error) {
	if _, ok := TheRecord(v); !ok {
		return RouterConfig{}, errBehind
	}
	m, ok := consensus.Get[Member](v, nodesTable, "id", string(id))
	if !ok || !m.Roles.Has(node.Router) {
		return RouterConfig{}, rpcerr.New(rpcerr.Denied, "only routers get the configuration of routers")
	}
	out := RouterConfig{
		TrustedProxies: listSetting(v, routerProxies), ProxyProtocol: boolSetting(v, routerProxyProtocol),
		IdleSeconds: intSetting(v, routerIdle), ResponseSeconds: intSetting(v, routerResponse), StallSeconds: intSetting(v, routerStall),
		DrainWaitSeconds: intSetting(v, routerDrainWait),
	}
	for _, s := range SiteCertificates(v) {
		key, err := c.secret(v, siteCertSecret(s.Name))
		if err != nil {
			return RouterConfig{}, err
		}
		out.Certificates = append(out.Certificates, RouterCertificate{Name: s.Name, Hosts: s.Hosts, Cert: s.CertPEM, Key: key})
	}
	return out, nil
}

// Settings of routers.
const (
	routerProxies       = "router/trusted_proxies"
	routerProxyProtocol = "router/proxy_protocol"
	routerIdle          = "router/idle_seconds"
	routerResponse      = "router/response_seconds"
	routerStall         = "router/stall_seconds"
	routerDrainWait     = "router/drain_wait_seconds"
)

// maxProxies bounds the list of trusted proxies: it is looked through at each
// connection.
const maxProxies = 64

func routerSettings() []KnownSetting {
	return []KnownSetting{
		{
			Key: routerProxies, Default: json.RawMessage("[]"), valid: checkProxies,
			Description: "networks of load balancers in front of routers, as a list of CIDRs: their X-Forwarded headers are believed",
		},
		{
			Key: routerProxyProtocol, Default: json.RawMessage("false"),
			Description: "connections from trusted proxies to routers begin with a PROXY header (version 1 or 2)",
		},
		{
			Key: routerIdle, Default: json.RawMessage("900"), Lowest: 5, Highest: 24 * 3600,
			Description: "seconds that routers keep idle connections of clients open (5 to 86400), from their next start",
		},
		{
			Key: routerResponse, Default: json.RawMessage("900"), Lowest: 1, Highest: 24 * 3600,
			Description: "seconds in which an app must begin to answer (1 to 86400), from the routers' next start",
		},
		{
			Key: routerStall, Default: json.RawMessage("60"), Lowest: 5, Highest: 24 * 3600,
			Description: "seconds that a client may send nothing of a request's body, or take nothing of an answer (5 to 86400), from the routers' next start",
		},
		{
			Key: routerDrainWait, Default: json.RawMessage("0"), Lowest: 0, Highest: 30,
			Description: "seconds that a router which ends goes on after its /health has said so, for load balancers to notice (0 to 30)",
		},
	}
}

// checkProxies accepts a list of networks. One that holds every address would
// let anybody say who they are.
func checkProxies(value json.RawMessage) error {
	var list []string
	if err := json.Unmarshal(value, &list); err != nil {
		return rpcerr.New(rpcerr.Invalid, "%s is a list of networks", routerProxies).WithHint(`kato config set %s '["10.0.0.0/16"]'`, routerProxies)
	}
	if len(list) > maxProxies {
		return rpcerr.New(rpcerr.Invalid, "%d networks, at most %d are taken", len(list), maxProxies)
	}
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return rpcerr.New(rpcerr.Invalid, "%.60q is no network", s).WithHint("one address is written 10.0.0.7/32")
		case p != p.Masked():
			return rpcerr.New(rpcerr.Invalid, "%s has bits beyond its length", s).WithHint("write %s", p.Masked())
		case p.Bits() == 0:
			return rpcerr.New(rpcerr.Invalid, "%s is everybody: any client could then forge its address", s)
		}
	}
	return nil
}

// listSetting and boolSetting return a known setting: what is set if that can
// be used, else the default.
func listSetting(r consensus.Reader, key string) []string {
	out := []string{}
	k, _ := knownSetting(key)
	if s, ok := consensus.Get[Setting](r, settingsTable, "id", key); ok && k.check(s.Value, true) == nil {
		_ = json.Unmarshal(s.Value, &out)
	}
	return out
}

func boolSetting(r consensus.Reader, key string) bool {
	out := false
	if s, ok := consensus.Get[Setting](r, settingsTable, "id", key); ok {
		_ = json.Unmarshal(s.Value, &out) // false if it is not one
	}
	return out
}
