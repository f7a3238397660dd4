package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
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
	return cmd
}

// run starts the agent and stops it on a signal.
func run(ctx context.Context, cfg agent.Config, micro bool) error {
	level, err := cfg.Level()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if micro {
		if err := makeMicro(ctx, cfg); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := agent.New(cfg, log, func() { notify("READY=1") })
	a.UsePlatform(platform{})
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

// notify tells systemd of the daemon's state; see sd_notify(3). Elsewhere it
// does nothing.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if path[0] == '@' { // abstract
		path = "\x00" + path[1:]
	}
	c, err := (&net.Dialer{}).DialContext(context.Background(), "unixgram", path)
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(state)) // systemd will say that it heard nothing
}
