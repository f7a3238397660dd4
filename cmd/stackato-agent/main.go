// Command stackato-agent is the daemon of a Stackato node, and the commands
// that make a machine a node: init, join, leave.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/stackato/stackato/agent"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/internal/buildinfo"
)

func main() {
	root := newRoot()
	started := false // else an error is one of usage: cobra calls this behind its own checks
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	if c, err := root.ExecuteContextC(context.Background()); err != nil {
		report(err)
		switch { // cobra's words: a command, a flag or an argument
		case started:
		case c.HasSubCommands():
			fmt.Fprintf(os.Stderr, "  → see %s --help\n", c.CommandPath())
		default:
			fmt.Fprintf(os.Stderr, "  → usage: %s (see %s --help)\n", c.UseLine(), c.CommandPath())
		}
		os.Exit(1)
	}
}

// options are the flags that every command has.
type options struct {
	config  string
	dataDir string
	// flags stand for variables of the environment; "" is not given.
	flags []variable
}

type variable struct {
	name  string
	value *string
}

// over returns the place for a flag that goes over a variable.
func (o *options) over(name string) *string {
	v := variable{name, new(string)}
	o.flags = append(o.flags, v)
	return v.value
}

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "stackato-agent",
		Short: "The daemon of a Stackato node",
		Long: `stackato-agent runs on every machine of a Stackato cluster.

A machine becomes the first node of a cluster with "init", or a member of one
with "join". Both work before "run" was started and while it runs.`,
		Example: `  stackato-agent init                                 # the first machine
  stackato-agent token create --roles dea > token     # there: a token for another
  stackato-agent join 10.0.0.5 --token-file token     # on the other machine
  stackato-agent run                                  # the daemon, on both`,
		Version:       buildinfo.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&o.config, "config", "", "configuration file (default "+agent.DefaultConfigFile+", if it exists)")
	root.PersistentFlags().StringVar(&o.dataDir, "data-dir", "", "directory with everything the node keeps (default /var/lib/stackato)")
	root.AddCommand(newRun(o), newInit(o), newJoin(o), newLeave(o), newReset(o), newToken(o), newVersion())
	return root
}

// load reads the configuration; the flags come over it.
func (o *options) load() (agent.Config, error) {
	env := os.Environ()
	for _, f := range o.flags {
		if *f.value != "" {
			env = append(env, f.name+"="+*f.value) // the last one counts
		}
	}
	cfg, err := agent.LoadConfig(o.config, env)
	if err != nil {
		return cfg, err
	}
	if o.dataDir != "" {
		cfg.DataDir = o.dataDir
	}
	return cfg, cfg.Validate()
}

// report prints an error with its hint.
func report(err error) {
	fmt.Fprintln(os.Stderr, "stackato-agent:", err)
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		fmt.Fprintln(os.Stderr, "  →", h.Hint())
	}
}

// daemon returns a client of the running daemon, nil if none answers.
func daemon(ctx context.Context, cfg agent.Config, command string) *local.Client {
	c := local.NewClient(cfg.SocketPath()).ForCommand("stackato-agent " + command)
	if _, err := c.Info(ctx); err != nil {
		return nil
	}
	return c
}

// progress prints the steps of a long operation on standard error.
func progress(s local.Step) {
	switch s.State {
	case local.StepDone:
		fmt.Fprintf(os.Stderr, "  ✓ %s\n", s.Name)
	case local.StepFailed:
		fmt.Fprintf(os.Stderr, "  ✗ %s: %s\n", s.Name, s.Detail)
	case local.StepNote:
		fmt.Fprintf(os.Stderr, "  · %s %s\n", s.Name, s.Detail)
	}
}

func warn(list []string) {
	for _, w := range list {
		fmt.Fprintln(os.Stderr, "warning:", w)
	}
}
