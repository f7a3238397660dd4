package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stackato/stackato/test/cluster"
)

var update = flag.Bool("update", false, "rewrite files in scripts")

// patience bounds every wait for something that happens by itself.
const patience = 90 * time.Second

// TestScripts runs testdata/script on a cluster of one node with every role.
func TestScripts(t *testing.T) {
	c := newCloud(t, cluster.Options{}, "small")
	// A group: the cluster is removed after the last script.
	t.Run("script", func(t *testing.T) { c.runScripts(t, "testdata/script") })
	c.outside = c.startOutside(t)
	c.runInTurn(t, "testdata/operator")
	if os.Getenv("STACKATO_TEST_LONG") == "1" {
		c.runInTurn(t, "testdata/zones") // most of it waits for Nomad to hear of them
	}
}

// runInTurn runs scripts that change what is the whole cluster's.
func (c *cloud) runInTurn(t *testing.T, dir string) {
	files, err := filepath.Glob(dir + "/*.txtar")
	must(t, err)
	for _, file := range files {
		t.Run(filepath.Base(dir), func(t *testing.T) { c.run(t, testscript.Params{Files: []string{file}}) })
	}
}

func (c *cloud) runScripts(t *testing.T, dir string) { c.run(t, testscript.Params{Dir: dir}) }

func (c *cloud) run(t *testing.T, p testscript.Params) {
	p.UpdateScripts, p.Setup, p.Cmds = *update, c.setup, c.commands()
	testscript.Run(t, p)
}

// commands are those of all scripts, see the package comment.
func (c *cloud) commands() map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]func(*testscript.TestScript, bool, []string){
		"cf":          c.cmdCF,
		"get":         c.cmdGet,
		"await":       c.cmdAwait,
		"put":         c.cmdPut,
		"load":        c.cmdLoad,
		"gone":        c.cmdGone,
		"held":        c.cmdHeld,
		"nomad-lacks": c.cmdNomadLacks,
		"websocket":   c.cmdWebSocket,
		"http2":       c.cmdHTTP2,
		"node":        c.cmdNode,
		"routers":     c.cmdRouters,
		"spread":      c.cmdSpread,
		"crash":       c.cmdCrash,
		"kato":        c.cmdKato,
		"proxied":     c.cmdProxied,
	}
	maps.Copy(all, c.largeCommands())
	return all
}

// state is what the commands of a script share.
type state struct {
	vars []string // environment that the script began with
	dir  string
	load *load
	pair *pair
}

type stateKey struct{}

func stateOf(ts *testscript.TestScript) *state { return ts.Value(stateKey{}).(*state) }

// setup gives a script a log-in, an organization and a space of its own.
func (c *cloud) setup(env *testscript.Env) error {
	name := strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
	home := filepath.Join(env.WorkDir, ".cf-home")
	env.Setenv("CF_HOME", home)
	env.Setenv("CF_COLOR", "false")
	env.Setenv("LANG", "en_US.UTF-8")
	env.Setenv("SSL_CERT_FILE", c.caFile)
	env.Setenv("https_proxy", c.proxy)
	env.Setenv("SAMPLES", filepath.Join(c.root, "samples"))
	env.Setenv("DOMAIN", domain)
	env.Setenv("ORG", "org-"+name)
	env.Setenv("NODE", c.Node(0).Address)
	if c.outside != nil {
		c.outside.set(env)
	}
	env.Setenv("CGO_ENABLED", "0")
	env.Setenv("GOCACHE", goCache())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	env.Defer(cancel)
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"api", "https://api." + domain},
		{"auth"},
		{"create-org", "org-" + name},
		{"create-space", "space", "-o", "org-" + name},
		{"target", "-o", "org-" + name, "-s", "space"},
	} {
		vars := slices.Concat(env.Vars, []string{"CF_USERNAME=admin", "CF_PASSWORD=" + c.password})
		if out, err := c.cf(ctx, env.WorkDir, vars, args...); err != nil {
			return fmt.Errorf("cf %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	env.Values[stateKey{}] = &state{vars: slices.Clone(env.Vars), dir: env.WorkDir}
	return nil
}

// cf runs the command line and returns all it prints.
func (c *cloud) cf(ctx context.Context, dir string, vars []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.root, "bin/cf"), args...)
	cmd.WaitDelay = time.Second
	cmd.Dir, cmd.Env = dir, vars
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// scriptCF is cf with a script's log-in.
func (c *cloud) scriptCF(ctx context.Context, ts *testscript.TestScript, args []string) (string, error) {
	s := stateOf(ts)
	return c.cf(ctx, s.dir, append(slices.Clone(s.vars), "CF_HOME="+ts.Getenv("CF_HOME")), args...)
}

// cmdCF is cf ARGS…
func (c *cloud) cmdCF(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec(filepath.Join(c.root, "bin/cf"), args...)
	switch {
	case err == nil && neg:
		ts.Fatalf("cf succeeded, which it must not")
	case err != nil && !neg:
		ts.Fatalf("cf: %v", err)
	}
}

// cmdGet is get [-H 'NAME: VALUE'] URL [STATUS [PATTERN]].
func (c *cloud) cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	header := ""
	if len(args) > 2 && args[0] == "-H" {
		header, args = args[1], args[2:]
	}
	url, status, pattern, err := wanted(args)
	ts.Check(err)
	a, err := c.get(context.Background(), url, false, header)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), a.text)
	if err := a.like(status, pattern); (err != nil) != neg {
		ts.Fatalf("get %s: want it: %v, got %v", url, !neg, err)
	}
}

// cmdAwait is await get …, await PATTERN cf … or await PATTERN kato …
func (c *cloud) cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await get URL [STATUS [PATTERN]], or: await PATTERN cf|kato ARGS…")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if args[0] == "get" {
		url, status, pattern, err := wanted(args[1:])
		ts.Check(err)
		ts.Check(c.WaitFor(ctx, url, func() error { return c.wants(ctx, url, status, pattern) }))
		return
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	ask := map[string]func(context.Context, *testscript.TestScript, []string) (string, error){"cf": c.scriptCF, "kato": c.scriptKato}[args[1]]
	if ask == nil {
		ts.Fatalf("await: %q is neither cf nor kato", args[1])
	}
	ts.Check(c.WaitFor(ctx, strings.Join(args, " "), func() error {
		out, err := ask(ctx, ts, args[2:])
		if err != nil || !pattern.MatchString(out) {
			return errors.Join(err, fmt.Errorf("no match for %q in:\n%s", pattern, out))
		}
		return nil
	}))
}

// cmdPut is put NAME [.KEY…] cf ARGS…
func (c *cloud) cmdPut(ts *testscript.TestScript, neg bool, args []string) {
	i := slices.Index(args, "cf")
	if neg || i < 1 || i > 2 {
		ts.Fatalf("usage: put NAME [.KEY…] cf ARGS…")
	}
	out, err := c.scriptCF(context.Background(), ts, args[i+1:])
	if err != nil {
		ts.Fatalf("cf: %v\n%s", err, out)
	}
	if i == 2 {
		out, err = pick(out, args[1])
		ts.Check(err)
	}
	ts.Setenv(args[0], strings.TrimSpace(out))
}

// pick returns what stands below keys and indexes, such as .resources.0.guid,
// in a JSON text.
func pick(text, path string) (string, error) {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return "", fmt.Errorf("%w in %s", err, text)
	}
	for key := range strings.SplitSeq(strings.TrimPrefix(path, "."), ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(in) {
				return "", fmt.Errorf("no element %q in %s", key, text)
			}
			v = in[i]
		default:
			return "", fmt.Errorf("nothing below %q in %s", key, text)
		}
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s is no text in %s", path, text)
	}
	return s, nil
}

// cmdLoad is load start URL and load stop [ALLOWED].
func (c *cloud) cmdLoad(ts *testscript.TestScript, neg bool, args []string) {
	state := stateOf(ts)
	switch {
	case neg || len(args) == 0:
		ts.Fatalf("usage: load start URL, load stop [ALLOWED]")
	case args[0] == "start" && len(args) == 2:
		l, err := c.startLoad(context.Background(), args[1])
		ts.Check(err)
		state.load = l
		ts.Defer(func() { l.stop() })
	case args[0] == "stop" && len(args) <= 2:
		allowed := 0
		if len(args) == 2 {
			var err error
			allowed, err = strconv.Atoi(args[1])
			ts.Check(err)
		}
		if state.load == nil {
			ts.Fatalf("no load was started")
		}
		count, failed := state.load.stop()
		ts.Logf("%d requests, %d failed", count, len(failed))
		if count < 20 {
			ts.Fatalf("only %d requests were made", count)
		}
		if len(failed) > allowed {
			ts.Fatalf("%d of %d requests failed, first:\n%s", len(failed), count, failed[0])
		}
	default:
		ts.Fatalf("load: unknown %q", args)
	}
}
