package e2e

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// user has a log-in, an organization and a space of their own, as a script
// has.
type user struct {
	*cloud
	t    *testing.T
	dir  string // where cf runs, with the app "identity" below
	vars []string
}

// identity is an app that says which instance answers. At /wait it does not, and
// at /waiting it says how many wait so.
const identity = `#!/usr/bin/env python3
import http.server, os, time
waiting = []
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/wait":
            waiting.append(self)
            time.sleep(600)
        body = (str(len(waiting)) if self.path == "/waiting" else os.environ["CF_INSTANCE_GUID"]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
print("instance", os.environ["CF_INSTANCE_GUID"], "is up", flush=True)
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
Server(("", int(os.environ["PORT"])), Handler).serve_forever()
`

func (c *cloud) newUser(t *testing.T) *user {
	t.Helper()
	dir := t.TempDir()
	name := strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(t.Name(), "/", "-"), "_", "-"))
	home := filepath.Join(dir, "home")
	app := filepath.Join(dir, "identity")
	must(t, errors.Join(os.Mkdir(home, 0o700), os.Mkdir(app, 0o755)))
	must(t, os.WriteFile(filepath.Join(app, "server.py"), []byte(identity), 0o600))
	u := &user{cloud: c, t: t, dir: dir, vars: slices.Concat(os.Environ(), []string{
		"CF_HOME=" + home, "HOME=" + dir, "CF_COLOR=false", "LANG=en_US.UTF-8", "SSL_CERT_FILE=" + c.caFile,
		"https_proxy=" + c.proxy, "CF_USERNAME=admin", "CF_PASSWORD=" + c.password,
	})}
	u.run("api", "https://api."+domain)
	u.run("auth")
	u.run("create-org", name)
	u.run("create-space", "space", "-o", name)
	u.run("target", "-o", name, "-s", "space")
	return u
}

// run is a cf command that must succeed.
func (u *user) run(args ...string) string {
	u.t.Helper()
	out, err := u.try(args...)
	must(u.t, err)
	return strings.TrimSpace(out)
}

// try is a cf command.
func (u *user) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(u.t.Context(), 2*patience)
	defer cancel()
	out, err := u.cloud.cf(ctx, u.dir, u.vars, args...)
	if err != nil {
		err = fmt.Errorf("cf %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return out, err
}

// push starts instances of identity and returns the app's GUID.
func (u *user) push(name string, instances int) string {
	u.t.Helper()
	u.run("push", name, "-b", "binary_buildpack", "-c", "python3 server.py", "-m", "48M", "-k", "64M",
		"-i", fmt.Sprint(instances), "-p", filepath.Join(u.dir, "identity"))
	return u.run("app", name, "--guid")
}

// appURL is where an app's own route leads.
func appURL(app string) string { return "https://" + app + "." + domain + "/" }

// await repeats f until it returns nil.
func (u *user) await(what string, f func() error) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), patience)
	defer cancel()
	must(u.t, u.WaitFor(ctx, what, f))
}

// stat is an instance as the API shows it.
type stat struct {
	Index        int    `json:"index"`
	State        string `json:"state"`
	InstanceGUID string `json:"instance_guid"`
	Host         string `json:"host"`
	Ports        []struct {
		External int `json:"external"`
	} `json:"instance_ports"`
}

// stats returns the instances of an app's web process.
func (u *user) stats(app string) ([]stat, error) {
	out, err := u.try("curl", "--fail", "/v3/apps/"+app+"/processes/web/stats")
	if err != nil {
		return nil, err
	}
	var page struct{ Resources []stat }
	err = json.Unmarshal([]byte(out), &page)
	return page.Resources, err
}

// running is an error unless exactly count instances are asked for and run.
func (u *user) running(app string, count int) error {
	all, err := u.stats(app)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, s := range all {
		if s.State != "RUNNING" {
			return fmt.Errorf("instance %d is %s", s.Index, s.State)
		}
		seen[s.InstanceGUID] = true
	}
	if len(all) != count || len(seen) != count {
		return fmt.Errorf("%d instances with %d names, not %d", len(all), len(seen), count)
	}
	return nil
}

// hosts counts the instances on each node, by its address.
func (u *user) hosts(app string) map[string]int {
	u.t.Helper()
	all, err := u.stats(app)
	must(u.t, err)
	on := map[string]int{}
	for _, s := range all {
		on[s.Host]++
	}
	return on
}

// without are all nodes but some.
func (c *cloud) without(not ...*cluster.Node) []*cluster.Node {
	return slices.DeleteFunc(c.Nodes(), func(n *cluster.Node) bool { return slices.Contains(not, n) })
}

// newPrimary waits until another node than old is the Primary.
func (c *cloud) newPrimary(ctx context.Context, t *testing.T, old *cluster.Node) *cluster.Node {
	t.Helper()
	var now *cluster.Node
	must(t, c.WaitFor(ctx, "another Primary than "+old.Name, func() error {
		for _, n := range c.without(old) {
			ask, cancel := context.WithTimeout(ctx, time.Second)
			info, err := n.Client().Info(ask)
			cancel()
			if err == nil && info.Primary != "" && info.Primary != old.Name {
				if now = c.ByName(info.Primary); now != nil {
					return nil
				}
			}
		}
		return errors.New("nobody else is")
	}))
	return now
}

// zipDir writes a zip of a directory.
func zipDir(w io.Writer, dir string) error {
	z := zip.NewWriter(w)
	if err := z.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	return z.Close()
}
