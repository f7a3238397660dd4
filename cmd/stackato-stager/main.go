// Command stackato-stager makes a droplet of an app's package. It is the first
// process of a staging container: as root, with the right to become the app's
// user and to signal it and no other, it fetches what the build needs from the
// node's fence, has "stackato-stager build" stage it as the app's user, and
// hands in what came out. Its output is what the developer reads.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/stackato/stackato/internal/allocdir"
	"github.com/stackato/stackato/internal/memlimit"
	"github.com/stackato/stackato/internal/sysfilter"
)

// Where things are in a staging container.
const (
	socketPath = "/stackato/run/fence.sock"
	homeDir    = "/home/vcap"
	tempDir    = "/tmp"
	spoolDir   = "/var/tmp"
	trustPath  = "/etc/stackato/trust.pem"
	appUser    = 2000
)

// Exit codes. A build that failed and said so to its controller is a success of
// the stager.
const (
	exitFailed    = 1
	exitUsage     = 2
	exitCancelled = 128 + int(syscall.SIGTERM)
)

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == buildCommand:
		os.Exit(buildMain())
	case len(os.Args) != 1:
		fmt.Fprintln(os.Stderr, "stackato-stager is started by Stackato in a staging container and takes no arguments")
		os.Exit(exitUsage)
	}
	os.Exit(stageMain())
}

func stageMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	c := &child{user: appUser, stdout: os.Stdout}
	if os.Getpid() == 1 {
		c.alone = true
		defer reap(c)()
		if err := errors.Join(allocdir.Close("/"), sysfilter.Apply()); err != nil {
			fmt.Fprintf(os.Stderr, "Staging error: %v\n", err)
			return exitFailed
		}
	}
	// Scripts open their output anew, as /dev/stdout. It is a pipe of root's.
	_ = os.Stdout.Chown(appUser, appUser)
	_ = os.Stderr.Chown(appUser, appUser)
	s := &stager{
		fence: newClient(socketPath), spool: spoolDir, trust: trustPath, system: systemTrust, java: javaTrust,
		home: homeDir, temp: tempDir, log: os.Stdout, build: c.run, kills: memlimit.Kills,
	}
	err := s.run(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errCancelled):
		fmt.Println("Staging was cancelled")
		return exitCancelled
	default:
		fmt.Fprintf(os.Stderr, "Staging error: %v\n", err)
		return exitFailed
	}
}
