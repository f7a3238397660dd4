package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/cluster/pki"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/rpc"
	"github.com/stackato/stackato/wire/routing"
)

// routerRole is the router's part inside of the agent.
type routerRole struct {
	Router
	metrics     prometheus.Registerer
	certificate *appCertificate
	config      *routerConfig
}

func newRouterRole(r *runtime) (*routerRole, error) {
	a := r.dir.get()
	c, config := newAppCertificate(r), newRouterConfig(r)
	feed := r.routeFeed
	if a.Micro && r.cfg.HostsFile != "" {
		hosts := newHostsFile(r.cfg.HostsFile, r.log)
		feed = func(ctx context.Context, update func(*routing.Update) error) error {
			return r.routeFeed(ctx, func(u *routing.Update) error {
				hosts.apply(u)
				return update(u)
			})
		}
	}
	rt, err := r.agent.platform.Router(RouterEnv{
		Self: a.Self, Domain: a.Domain, Dir: r.cfg.path("router"),
		HTTP: fmt.Sprintf(":%d", r.cfg.Ports.RouterHTTP), HTTPS: fmt.Sprintf(":%d", r.cfg.Ports.RouterHTTPS),
		Health:      fmt.Sprintf(":%d", r.cfg.Ports.RouterHealth),
		Certificate: c.get, Config: config.watch, Stays: r.staysRouter, ControllerTLS: r.controllerTLS(), Feed: feed, Confirm: r.confirmBackend,
		Logs: logStore{r}, Logger: r.log,
	})
	return &routerRole{rt, r.agent.http.reg, c, config}, err
}

// staysRouter reports whether the node has a router from now on.
func (r *runtime) staysRouter() bool {
	self := r.dir.get().Self
	return self.Roles.Without(self.StoppedRoles).Has(node.Router) && r.isRemoved() == nil
}

// Run implements rolePart.
func (p *routerRole) Run(ctx context.Context) error {
	if err := p.metrics.Register(p); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	defer p.metrics.Unregister(p)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.certificate.run(ctx) })
	group.Go(func() error { return p.config.run(ctx) })
	group.Go(func() error { return p.Router.Run(ctx) })
	return group.Wait()
}

// routeFeed follows the routes of a controller, this node's own first.
func (r *runtime) routeFeed(ctx context.Context, update func(*routing.Update) error) error {
	last := errNoRole(node.Controller)
	for _, n := range r.askOrder() {
		if !r.seen(n.ID) {
			continue
		}
		s, err := rpc.OpenStream(ctx, r.client, rpc.Target{ID: n.ID, Addr: n.RPCAddr()}, methodRoutes, &rpc.Empty{})
		if err != nil {
			last = err
			continue
		}
		defer s.Close()
		for {
			u, err := s.Next()
			if err == nil {
				err = update(u)
			}
			if err != nil {
				return err
			}
		}
	}
	return last
}

// confirmBackend asks a DEA whether an instance still has an address. This
// node's own is asked without a detour: it may be that the agent was just
// replaced, and the router is up before all else is.
func (r *runtime) confirmBackend(ctx context.Context, nodeID, address, allocID string) error {
	req := &confirmRequest{allocID, address}
	if node.ID(nodeID) == r.id.ID {
		return r.confirmOwn(ctx, req)
	}
	n, ok := r.dir.get().Find(node.ID(nodeID))
	if !ok {
		return fmt.Errorf("node %s does not belong to the cluster", nodeID)
	}
	_, err := rpc.Call(ctx, r.client, rpc.Target{ID: n.ID, Addr: n.RPCAddr()}, methodConfirm, req)
	return err
}

// confirmAgain is the pause before this node's DEA is asked again while it starts.
const confirmAgain = 20 * time.Millisecond

// confirmOwn answers for this node's DEA. While that starts it waits, until
// ctx is done.
func (r *runtime) confirmOwn(ctx context.Context, req *confirmRequest) error {
	for {
		d, err := partOf[*dea](r, node.DEA)
		if err == nil {
			return d.confirm(ctx, req)
		}
		if !errors.Is(err, errPartStarting) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(confirmAgain):
		}
	}
}

// controllerTLS is for connections of this node's router to controllers.
func (r *runtime) controllerTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return r.creds.Certificate(), nil
		},
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does it: certificates name nodes, not hosts
		VerifyConnection:   func(cs tls.ConnectionState) error { return r.verifyPeer(cs, node.Controller) },
	}
}

// verifyPeer accepts members of the cluster that have a role now.
func (r *runtime) verifyPeer(cs tls.ConnectionState, role node.Role) error {
	id, err := pki.Verify(cs.PeerCertificates, r.creds.Roots(), r.creds.ClusterID(), r.creds.Now(), pki.Options{})
	if err != nil {
		return err
	}
	return r.hasRole(id.ID, role)
}

// apiListener is where the Cloud Controller's API listens: for routers of
// the cluster alone.
func (r *runtime) apiListener() (net.Listener, error) {
	addr := net.JoinHostPort(r.dir.get().Self.Address, strconv.Itoa(r.cfg.Ports.API))
	return tls.Listen("tcp", addr, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate:   func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return r.creds.Certificate(), nil },
		ClientAuth:       tls.RequireAnyClientCert, // VerifyConnection looks at it
		VerifyConnection: func(cs tls.ConnectionState) error { return r.verifyPeer(cs, node.Router) },
	})
}

// mayCallAPI refuses the peer of an open connection that is no router any more.
func (r *runtime) mayCallAPI(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return pki.ErrNoIdentity
	}
	id, err := pki.Names(cs.PeerCertificates[0], r.creds.ClusterID())
	if err != nil {
		return err
	}
	return r.hasRole(id, node.Router)
}

func (r *runtime) hasRole(id node.ID, role node.Role) error {
	if n, ok := r.dir.Lookup(id); !ok || !n.Roles.Has(role) {
		return fmt.Errorf("node %s does not have the role %s", id, role)
	}
	return nil
}

var errNoAppCertificate = errors.New("the router's certificate has not been issued yet")

// requestAppCertificate asks a controller for a certificate.
func (r *runtime) requestAppCertificate(ctx context.Context, csr []byte) (*cluster.AppCertificateResponse, error) {
	return ask(ctx, r, methodAppCert, &cluster.AppCertificateRequest{CSR: csr})
}
