package main

import (
	"context"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/internal/buildinfo"
)

// app is one run of kato: its streams and global flags.
type app struct {
	in       io.Reader
	out, err io.Writer

	json    bool
	yes     bool
	noColor bool
	node    string
	socket  string

	// started is set when a command's own code runs: an error before that
	// is an error of usage.
	started bool
}

func newApp(in io.Reader, out, err io.Writer) *app { return &app{in: in, out: out, err: err} }

// run executes one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	c, err := root.ExecuteContextC(ctx)
	if err != nil && !a.started { // flags and arguments, by cobra
		err = wrongUsage(c, err)
	}
	return a.exitCode(ctx, err)
}

// root builds the command tree: this list is everything that kato can do.
func (a *app) root() *cobra.Command {
	root := a.group("kato", "Operate a Stackato cluster", rootHelp,
		a.group("node", "Set up, attach, list and remove nodes", "",
			newNodeList(a), newNodeVersion(a),
			a.group("setup", "Make this machine the first node of a cluster", "",
				newNodeSetupCore(a), newNodeSetupMicro(a)),
			newNodeAttach(a), newNodeDetach(a), newNodeRemove(a),
			newNodeAvailabilityZone(a),
			a.group("placementzones", "Show and change the placement zones of a node", placementZonesHelp,
				newPlacementZonesAdd(a), newPlacementZonesList(a), newPlacementZonesRemove(a))),
		a.group("role", "Show and change which node carries which role", "",
			newRoleAdd(a), newRoleRemove(a), newRoleInfo(a), newRoleList(a), newRoleGroups(a)),
		newInfo(a), newStatus(a),
		newControl(a, local.ControlStart), newControl(a, local.ControlStop), newControl(a, local.ControlRestart),
		a.group("process", "Look after the processes of a node", "",
			newProcessList(a), newProcessRestart(a), newProcessReady(a)),
		a.group("config", "Read and change the replicated settings", configHelp,
			newConfigGet(a), newConfigSet(a), newConfigDel(a)),
		a.group("token", "Manage join tokens", "",
			newTokenCreate(a), newTokenList(a), newTokenRevoke(a)),
		a.group("certificate", "Manage the routers' certificates for your own domains", certificateHelp,
			newCertificateAdd(a), newCertificateList(a), newCertificateRemove(a)),
		a.group("user", "Manage the administrator's log-in", "", newUserResetAdmin(a)),
		a.group("rotate", "Replace a key of the cluster", rotateHelp,
			newRotate(a, local.RotateGossipKey), newRotate(a, local.RotateCA), newRotate(a, local.RotateSealingKey)),
		a.group("export", "Write what a backup needs into files", "", newExportSealingKeys(a)),
		newInspect(a), newVersion(a),
	)
	a.globals(root)
	// Cobra calls it behind its own checks of flags and arguments.
	root.PersistentPreRun = func(*cobra.Command, []string) { a.started = true }
	return root
}

const rootHelp = `kato shows and changes a Stackato cluster. It runs on any node of the cluster and
speaks to the agent there; --node lets another node do it.

Something is wrong? "kato status -a" shows every role of every node, "kato
inspect" each problem of this machine with its remedy.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 something named does not exist,
4 refused (a rule, a precondition or a missing confirmation), 5 not available
(no agent, no Primary, a node does not answer).

Colours appear on terminals only; NO_COLOR in the environment turns them off.`

// globals adds the flags that every command has.
func (a *app) globals(root *cobra.Command) {
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.Version = buildinfo.Version
	root.SetVersionTemplate("kato {{.Version}}\n")
	socket := os.Getenv("STACKATO_SOCKET")
	if socket == "" {
		socket = local.DefaultSocket
	}
	f := root.PersistentFlags()
	f.BoolVarP(&a.json, "json", "j", false, "print JSON (errors too, on standard error)")
	f.StringVarP(&a.node, "node", "n", "", "act on another node: its name, id or address")
	f.BoolVarP(&a.yes, "yes", "y", false, "do not ask for confirmation")
	f.BoolVar(&a.noColor, "no-color", false, "no colours, also on a terminal")
	f.StringVar(&a.socket, "socket", socket, "the agent's socket, or set STACKATO_SOCKET")
	f.Lookup("socket").DefValue = local.DefaultSocket
	must(root.RegisterFlagCompletionFunc("node", a.completeNodes))
}

// group makes a command that only holds others.
func (a *app) group(use, short, long string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.ArbitraryArgs}
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		hint := "see " + c.CommandPath() + " --help"
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean " + c.CommandPath() + " " + strings.Join(near, " or ") + "?"
		}
		return usageErrorf(hint, "unknown command %q for %s", args[0], c.CommandPath())
	}
	c.SuggestionsMinimumDistance = 2
	c.AddCommand(subs...)
	return c
}

// client speaks to the node that --node names.
func (a *app) client(c *cobra.Command) *local.Client { return a.cluster(c).OnNode(a.node) }

// cluster speaks to the agent of this machine, whatever --node says: for
// requests that name the node themselves and work also while it is down.
func (a *app) cluster(c *cobra.Command) *local.Client {
	return local.NewClient(a.socket).ForCommand(c.CommandPath())
}

// terminal reports whether a stream is a terminal.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// must is for wiring that can only fail by a mistake in this program.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
