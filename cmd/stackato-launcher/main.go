// Command stackato-launcher is the first process of an app's or task's
// container. It asks the node's fence what to start, unpacks the droplet,
// starts the app without any privilege, passes signals on, and ends with the
// app's exit status.
//
// It is static: the image needs no more than bash. It runs as root with the
// capabilities SETUID, SETGID, SETPCAP, CHOWN and KILL only.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/stackato/stackato/internal/allocdir"
	"github.com/stackato/stackato/internal/sysfilter"
)

// unpackArg makes this program the unpacker of a droplet: a child of the
// launcher that is the app's user already.
const unpackArg = "unpack"

func main() {
	if len(os.Args) == 2 && os.Args[1] == unpackArg {
		if err := unpack(os.Stdin, defaultPlaces.home); err != nil {
			fmt.Fprintln(os.Stderr, "stackato: unpack the droplet:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(launch())
}

// launch runs an instance from its first question to its end. The status is
// the app's, 128 + signal if one ended it, or 70 for a failure of ours.
func launch() int {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	if err := dropForGood(); err != nil {
		fmt.Fprintln(os.Stderr, "stackato: give up privileges:", err)
		return exitOurs
	}
	if err := allocdir.Close("/"); err != nil {
		fmt.Fprintln(os.Stderr, "stackato:", err)
		return exitOurs
	}
	if err := sysfilter.Apply(); err != nil {
		fmt.Fprintln(os.Stderr, "stackato:", err)
		return exitOurs
	}
	l := newLauncher(defaultPlaces, signals)
	status, err := l.run(context.Background())
	if err != nil && !errors.Is(err, errTold) {
		fmt.Fprintln(os.Stderr, "stackato:", err)
	}
	return status
}

// exitOurs is the status when the launcher itself failed (EX_SOFTWARE).
const exitOurs = 70

// places are the paths inside of the container.
type places struct {
	socket       string // of fence
	home         string // the droplet is unpacked here
	certificates string // directory of the trusted authorities
	shell        string
	uid, gid     uint32
}

var defaultPlaces = places{
	socket:       "/stackato/run/fence.sock",
	home:         "/home/vcap",
	certificates: "/etc/cf-system-certificates",
	shell:        "/bin/bash",
	uid:          2000,
	gid:          2000,
}
