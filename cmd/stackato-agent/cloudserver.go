package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/wire/routing"
)

// shutdownWithin bounds how long requests may go on when the node stops.
const shutdownWithin = 5 * time.Second

// serve answers the system hosts until ctx is done. Only routers connect.
func (c *cloud) serve(ctx context.Context) error {
	l, err := c.env.Listen()
	if err != nil {
		c.setServing(err)
		return err
	}
	server := &http.Server{
		Handler: c.fromRouters(c.web), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(c.env.Logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	c.setServing(nil)
	select {
	case err = <-failed:
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWithin)
		defer cancel()
		if server.Shutdown(grace) != nil {
			err = server.Close()
		}
		<-failed
	}
	c.setServing(errors.New("the API has stopped"))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// fromRouters refuses peers that are no routers any more, and has them close
// the connection: TLS asked only when it was opened.
func (c *cloud) fromRouters(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && c.env.MayCall(*r.TLS) == nil {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Connection", "close")
		http.Error(w, "only routers of this cluster may ask", http.StatusForbidden)
	})
}

// systemHosts are the first labels of the names that controllers serve.
var systemHosts = []string{"api", "login", "uaa", "log-cache"}

// host returns a system host's name.
func (c *cloud) host(label string) string { return label + "." + c.env.Domain }

// byHost sends requests to the handler of their host's first label.
func (c *cloud) byHost(handlers map[string]http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		label, domain, _ := strings.Cut(strings.ToLower(host), ".")
		h := handlers[label]
		if h == nil || domain != c.env.Domain {
			http.Error(w, "no such host here", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// system is what routers send here.
func (c *cloud) system() (routing.System, <-chan struct{}) {
	_, changed := c.env.Topology()
	s := routing.System{Domain: c.env.Domain}
	for _, label := range systemHosts {
		s.Hosts = append(s.Hosts, c.host(label))
	}
	for _, n := range c.nodes.with(node.NewRoleSet(node.Controller)) {
		s.Targets = append(s.Targets, net.JoinHostPort(n.Address, strconv.Itoa(c.env.APIPort)))
	}
	return s, changed
}
