// Command kato is the operator's command: it looks at a cluster and changes
// it. It speaks to the agent of this machine over the local API and does
// nothing by itself, so it cannot corrupt anything.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := newApp(os.Stdin, os.Stdout, os.Stderr).run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
