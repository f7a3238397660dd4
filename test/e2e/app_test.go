package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdCrash is crash APP-GUID: every process of one of the app's instances is
// killed, as a fault of its own would end it.
func (c *cloud) cmdCrash(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || len(args[0]) < 36 {
		ts.Fatalf("usage: crash APP-GUID")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, n := range c.Nodes() {
		out, err := n.Exec(ctx, "docker", "ps", "--quiet", "--filter", "label=stackato.app="+args[0])
		ts.Check(err)
		for _, id := range strings.Fields(out) {
			// What is killed is the app's user's: the launcher is root's.
			out, err := n.Exec(ctx, "docker", "exec", "--user", "2000", id, "bash", "-c", "kill -KILL -1")
			fmt.Fprintf(ts.Stdout(), "%s %v\n", out, err) // it kills itself as well
			return
		}
	}
	ts.Fatalf("no node runs the app %s", args[0])
}

// goCache is where scripts that build an app find what was compiled before.
func goCache() string {
	if dir := os.Getenv("GOCACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "go-build")
}
