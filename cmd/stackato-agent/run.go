package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/wire/rpcerr"
)

func newRun(o *options) *cobra.Command {
	var micro bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground",
		Long: `Run the daemon in the foreground.

A machine that is in no cluster waits for init or join; with --micro it becomes
a micro cloud, a cluster of its own with every role.

A Primary that ends hands over to another controller first.
SIGTERM ends the agent and leaves Consul, Nomad and the containers running, as
an upgrade needs it: the next agent finds them again. SIGINT (Ctrl-C) ends Nomad
and Consul too.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			return run(cmd.Context(), cfg, micro)
		},
	}
	cmd.Flags().BoolVar(&micro, "micro", false, "make an unconfigured machine a micro cloud")
	for _, f := range configFlags {
		cmd.Flags().StringVar(o.over(f.variable), f.name, "", f.usage)
	}
	return cmd
}

// configFlags are the fields of the configuration that the daemon takes as
// flags too, over what the environment says. Those for init and join are flags
// there; children and clock_offset are for tests.
var configFlags = []struct{ name, variable, usage string }{
	{"timing", "STACKATO_TIMING", "lan, or wan for round trips up to 200 ms (default lan); the same on all nodes"},
	{"log-level", "STACKATO_LOG_LEVEL", "debug, info, warn or error (default info)"},
	{"docker-socket", "STACKATO_DOCKER_SOCKET", "where the Docker Engine answers (default /var/run/docker.sock)"},
	{"hosts-file", "STACKATO_HOSTS_FILE", "where a micro cloud keeps its names (default /etc/hosts)"},
	{"role-groups", "STACKATO_ROLE_GROUPS", "the administrators' role groups (default /s/etc/kato/role_groups.yml)"},
	{"consul", "STACKATO_CONSUL", "path of the program (default: beside the agent, then on PATH)"},
	{"nomad", "STACKATO_NOMAD", "path of the program (default: beside the agent, then on PATH)"},
	{"rpc-port", "STACKATO_RPC_PORT", "port of RPC, Raft and join (default 7300)"},
	{"gossip-port", "STACKATO_GOSSIP_PORT", "port of gossip (default 7301)"},
	{"http-port", "STACKATO_HTTP_PORT", "port of health and metrics on loopback (default 7302)"},
	{"api-port", "STACKATO_API_PORT", "port of the Cloud Controller for routers (default 7303)"},
	{"router-http-port", "STACKATO_ROUTER_HTTP_PORT", "port of the router for HTTP (default 80)"},
	{"router-https-port", "STACKATO_ROUTER_HTTPS_PORT", "port of the router for HTTPS (default 443)"},
	{"router-health-port", "STACKATO_ROUTER_HEALTH_PORT", "port where load balancers ask how the router is (default 7304)"},
}

// run starts the agent and stops it on a signal.
func run(ctx context.Context, cfg agent.Config, micro bool) error {
	level, err := cfg.Level()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	kept := inherit(log)
	if micro {
		if err := makeMicro(ctx, cfg); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	a := agent.New(cfg, log, func() { notify("READY=1") })
	a.UsePlatform(platform{kept})
	var beside sync.WaitGroup
	own := newOwnLog(filepath.Join(cfg.DataDir, "logs"), log)
	beside.Go(func() { own.run(ctx) })
	defer func() {
		cancel()
		beside.Wait()
	}()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		s := <-signals
		notify("STOPPING=1")
		if s == syscall.SIGINT {
			a.StopChildren()
		}
		a.HandOver(ctx)
		cancel()
	}()
	return a.Run(ctx)
}

// makeMicro sets an unconfigured machine up; a configured one stays as it is.
func makeMicro(ctx context.Context, cfg agent.Config) error {
	return agent.Locked(cfg, func() error {
		out, err := agent.NewSetup(cfg).Init(ctx, local.InitRequest{Micro: true}, func(local.Step) {})
		if errors.Is(err, rpcerr.Precondition) {
			return nil // configured before
		}
		if err == nil {
			fmt.Fprintf(os.Stderr, "made a micro cloud; the first log-in is in %s\n", out.AdminFile)
			warn(out.Warnings)
		}
		return err
	})
}
