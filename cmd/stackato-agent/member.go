package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/internal/buildinfo"
)

func newInit(o *options) *cobra.Command {
	var req local.InitRequest
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make this machine the first node of a new cluster",
		Example: `  stackato-agent init
  stackato-agent init --name core --advertise 10.0.0.5 --roles core,dea --zone eu-1a`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			out, err := setUp(cmd.Context(), cfg, "init", func(m maker) (local.InitResult, error) {
				return m.Init(cmd.Context(), req, progress)
			})
			if err != nil {
				return err
			}
			warn(out.Warnings)
			fmt.Printf("Node %s is the first of cluster %s.\n", out.Node, out.ClusterID)
			if out.Admin != nil {
				fmt.Printf("First log-in: %s, password %s (also in %s)\n", out.Admin.Username, out.Admin.Password, out.AdminFile)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.Name, "name", "", "name of the node (default: the host name)")
	f.StringVar(&req.Advertise, "advertise", "", "IPv4 address that other nodes reach this one at (default: that of the interface with the default route)")
	f.StringSliceVar(&req.Roles, "roles", nil, "roles or groups besides controller and router")
	f.StringVar(&req.Zone, "zone", "", "availability zone (default \"default\")")
	f.StringVar(&req.Domain, "domain", "", "domain of the cluster (default stackato.localhost)")
	f.BoolVar(&req.Micro, "micro", false, "a micro cloud: every role on this machine")
	return cmd
}

func newJoin(o *options) *cobra.Command {
	var req local.JoinRequest
	var tokenFile string
	cmd := &cobra.Command{
		Use:   "join PRIMARY...",
		Short: "Make this machine a member of a cluster",
		Long: `Make this machine a member of a cluster.

PRIMARY is the address or DNS name of any controller, with a port if that is not
7300, or a cloud auto-join string. Several are tried in order. The token is made
on a controller with "stackato-agent token create".`,
		Example: `  stackato-agent join 10.0.0.5 --token-file token --roles dea --zone eu-1b
  ssh core stackato-agent token create | stackato-agent join core --token-file -
  stackato-agent join "provider=aws tag_key=stackato tag_value=core" --token-file token`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name a controller of the cluster: stackato-agent join ADDRESS --token-file FILE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			req.Primaries = args
			if req.Token, err = readToken(tokenFile); err != nil {
				return err
			}
			out, err := setUp(cmd.Context(), cfg, "join", func(m maker) (local.JoinResult, error) {
				return m.Join(cmd.Context(), req, progress)
			})
			if err != nil {
				return err
			}
			warn(out.Warnings)
			fmt.Printf("Node %s has joined cluster %s with the roles %s.\n", out.Node, out.ClusterID, out.Roles)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&tokenFile, "token-file", "", "file with the join token, - for standard input")
	f.StringVar(&req.Name, "name", "", "name of the node (default: the host name)")
	f.StringVar(&req.Advertise, "advertise", "", "IPv4 address that other nodes reach this one at (default: that of the interface with the default route)")
	f.StringSliceVar(&req.Roles, "roles", nil, "roles or groups (default: base only)")
	f.StringVar(&req.Zone, "zone", "", "availability zone (default \"default\")")
	return cmd
}

// maker makes a machine a member: the running daemon, or this process.
type maker interface {
	Init(ctx context.Context, r local.InitRequest, p local.Progress) (local.InitResult, error)
	Join(ctx context.Context, r local.JoinRequest, p local.Progress) (local.JoinResult, error)
}

// setUp lets the daemon do it if it runs; else it is done here, for the
// daemon to take over.
func setUp[T any](ctx context.Context, cfg agent.Config, command string, do func(maker) (T, error)) (out T, err error) {
	if c := daemon(ctx, cfg, command); c != nil {
		return do(c)
	}
	err = agent.Locked(cfg, func() error {
		out, err = do(agent.NewSetup(cfg))
		return err
	})
	if err == nil {
		fmt.Fprintln(os.Stderr, "The daemon does not run yet; start it with: systemctl start stackato-agent (or: stackato-agent run)")
	}
	return out, err
}

// maxTokenFile bounds what is read as a token, in bytes.
const maxTokenFile = 4 << 10

// readToken reads the join token; it is never an argument, because others can
// see those.
func readToken(path string) (string, error) {
	if path == "" {
		return "", errors.New("no join token: give --token-file FILE, or --token-file - for standard input")
	}
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return "", fmt.Errorf("join token: %w", err)
		}
		defer f.Close()
	}
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
	if err != nil {
		return "", fmt.Errorf("join token: %w", err)
	}
	return string(text), nil
}

func newLeave(o *options) *cobra.Command {
	var req local.LeaveRequest
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Take this node out of its cluster",
		Long: `Take this node out of its cluster.

A voter hands over first: another controller takes its vote, and Consul and
Nomad move their servers, which takes about 20 s. Then the node forgets the
cluster. The last controller cannot leave.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			c := local.NewClient(cfg.SocketPath()).ForCommand("stackato-agent leave")
			if err := c.Leave(cmd.Context(), req, progress); err != nil {
				return err
			}
			fmt.Println("This machine is in no cluster any more.")
			return nil
		},
	}
	cmd.Flags().BoolVar(&req.Force, "force", false, "also when the others cannot take over, or do not answer")
	return cmd
}

func newReset(o *options) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Forget the membership of a node that its cluster has lost or removed",
		Long: `Forget the membership: delete the node's identity, keys and state.

It is for a node that was removed, or whose data are damaged. The cluster is not
told: run "kato node remove" there. Stop the daemon first.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			if !yes {
				return fmt.Errorf("this deletes the node's data in %s: give --yes if you mean it", cfg.DataDir)
			}
			if err := agent.Locked(cfg, func() error { return agent.Reset(cfg) }); err != nil {
				return err
			}
			fmt.Println("This machine is in no cluster any more.")
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "delete without asking")
	return cmd
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) { fmt.Println(buildinfo.Version) },
	}
}
