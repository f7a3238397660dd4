package agent

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/agent/resolver"
	"github.com/stackato/stackato/agent/supervise"
	"github.com/stackato/stackato/agent/supervise/consul"
	"github.com/stackato/stackato/agent/supervise/nomad"
	"github.com/stackato/stackato/agent/supervise/serfagent"
)

// newChild makes the child of p. Each start of it writes, and its readiness
// follows, the configuration that p has then, which may be newer than c.
func (k *children) newChild(p *process, c childConfig) (*supervise.Child, error) {
	if err := writeConfig(c); err != nil {
		return nil, err
	}
	spec, err := c.Spec()
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	end := k.end
	k.mu.Unlock()
	newest := func() childConfig {
		k.mu.Lock()
		defer k.mu.Unlock()
		return p.config
	}
	return supervise.New(spec, supervise.Options{
		End: end, Log: k.log,
		Ready:   func(ctx context.Context) error { return k.readiness(newest())(ctx) },
		Prepare: func() error { return writeConfig(newest()) },
	})
}

func writeConfig(c childConfig) error {
	var err error
	switch c := c.(type) {
	case consul.Config:
		_, err = consul.Write(c)
	case nomad.Config:
		// The client refuses to start without the directories of its volumes.
		for _, v := range c.Client.HostVolumes {
			if err := os.MkdirAll(v.Path, 0o755); err != nil { //nolint:gosec // containers look into it
				return err
			}
		}
		_, err = nomad.Write(c)
	}
	return err
}

func applyConfig(ctx context.Context, child *supervise.Child, c childConfig) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	switch c := c.(type) {
	case consul.Config:
		return consul.Apply(ctx, child, c)
	case nomad.Config:
		return nomad.Apply(ctx, child, c)
	}
	return errors.ErrUnsupported
}

func (k *children) readiness(c childConfig) func(context.Context) error {
	switch c := c.(type) {
	case consul.Config:
		return func(ctx context.Context) error {
			client := consul.NewClient(c.HTTPAddress(), c.AgentToken)
			defer client.Close()
			return client.Ready(ctx, c.Server, c.NodeName)
		}
	case nomad.Config:
		return func(ctx context.Context) error {
			client := nomad.NewClient(c.HTTPAddress(), "")
			defer client.Close()
			if err := client.Ready(ctx); err != nil || !c.Server || !c.Client.Enabled {
				return err
			}
			return k.registered(ctx, c)
		}
	}
	return nil
}

// registered reports whether a Nomad client beside a server has registered,
// and hurries it. Before access control is bootstrapped nobody can ask.
func (k *children) registered(ctx context.Context, c nomad.Config) error {
	ctl := k.r.controller()
	if ctl == nil {
		return nil
	}
	_, token, err := ctl.ManagementTokens()
	if err != nil {
		return nil // there is none yet
	}
	client := nomad.NewClient(c.HTTPAddress(), token)
	defer client.Close()
	return client.Registered(ctx)
}

func (k *children) consulConfig(a cluster.Assignment, bin string) (childConfig, error) {
	c := consul.Config{
		Binary: bin, Dir: k.r.cfg.path("consul"), LogFile: k.r.cfg.path("logs", "consul.log"), BindAddr: a.Self.Address,
		NodeName: a.Self.Name, NodeID: string(a.Self.ID), Server: a.IsVoter(),
		RetryJoin: k.servers(a), GossipKeys: []string{base64.StdEncoding.EncodeToString(a.ConsulGossip)},
		TLS:        serfagent.TLSFiles{CA: k.r.cfg.caFile(), Cert: k.r.cfg.certFile(), Key: k.r.cfg.keyFile()},
		AgentToken: a.ConsulToken,
	}
	if k.r.cfg.Timing == "wan" {
		c.Profile = consul.WAN
	}
	if c.Server {
		if a.Controller == nil {
			return nil, errors.New("the assignment lacks the servers' secrets")
		}
		c.InitialManagement = a.Controller.ConsulManagement
		if a.Founder == a.Self.ID {
			c.BootstrapExpect = 1
		}
	}
	return c, nil
}

func (k *children) nomadConfig(a cluster.Assignment, bin string) (childConfig, error) {
	c := nomad.Config{
		Binary: bin, Dir: k.r.cfg.path("nomad"), LogFile: k.r.cfg.path("logs", "nomad.log"), BindAddr: a.Self.Address,
		NodeName: a.Self.Name, NodeID: string(a.Self.ID), Server: a.IsVoter(), RetryJoin: k.servers(a),
		TLS: serfagent.TLSFiles{CA: k.r.cfg.caFile(), Cert: k.r.cfg.certFile(), Key: k.r.cfg.keyFile()},
	}
	if k.r.cfg.Timing == "wan" {
		c.Timing = nomad.WAN()
	}
	if c.Server {
		if a.Controller == nil {
			return nil, errors.New("the assignment lacks the servers' secrets")
		}
		c.GossipKeys = []string{base64.StdEncoding.EncodeToString(a.Controller.NomadGossip)}
		if a.Founder == a.Self.ID {
			c.BootstrapExpect = 1
		}
	}
	if runsClient(a) {
		iface, err := nomad.InterfaceOf(a.Self.Address)
		if err != nil {
			return nil, err
		}
		c.Client = nomad.ClientConfig{
			Enabled: true, Interface: iface, Meta: clientMeta(a.Self),
			DockerEndpoint: "unix://" + k.r.cfg.DockerSocket,
			// The one directory that containers share with their node.
			HostVolumes: map[string]nomad.HostVolume{"stackato": {Path: k.r.cfg.path("fence", "public")}},
		}
	}
	return c, nil
}

// metaResolver is the metadata that jobs name as the second server.
const metaResolver = "resolver"

// clientMeta is the metadata that the Nomad client starts with: beside what
// placement decides by, the second server that containers ask for names.
func clientMeta(n node.Node) map[string]string {
	m := roleMeta(n)
	m[metaResolver] = resolver.Fallback()
	return m
}

// roleMeta is the Nomad client's metadata that placement decides by.
func roleMeta(n node.Node) map[string]string {
	m := map[string]string{"stackato_zone": n.Zone}
	running := n.Roles.Without(n.StoppedRoles)
	for _, info := range node.Roles() {
		if node.NewRoleSet(info.Role).RunsNomadClient() {
			m["role_"+string(info.Role)] = fmt.Sprint(running.Has(info.Role))
		}
	}
	zones := n.PlacementZones
	if len(zones) == 0 {
		zones = []string{node.DefaultZone}
	}
	for _, z := range zones {
		m["placement_zone_"+z] = "true"
	}
	return m
}

// servers lists the addresses of the Consul and Nomad servers; a server does
// not list itself.
func (k *children) servers(a cluster.Assignment) []string {
	var out []string
	for _, id := range a.Voters {
		if n, ok := a.Find(id); ok && (id != a.Self.ID) {
			out = append(out, n.Address)
		}
	}
	if len(out) == 0 && !a.IsVoter() {
		out = append(out, a.Self.Address)
	}
	return out
}
