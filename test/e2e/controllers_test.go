package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stackato/stackato/test/cluster"
)

// controller speaks to the API of one controller, as routers do: with the
// certificate of a node, past the routers' choice.
type controller struct {
	node  *cluster.Node
	http  http.Client
	token string
}

func (u *user) controller(n *cluster.Node) *controller {
	u.t.Helper()
	pki := cluster.DataDir + "/pki/"
	pair, err := tls.LoadX509KeyPair(n.HostPath(pki+"node.crt"), n.HostPath(pki+"node.key"))
	must(u.t, err)
	return &controller{n, http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, net.JoinHostPort(n.Address, "7303"))
		},
		// The name in the certificate is the node's, not the API's.
		TLSClientConfig:   &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}}, u.run("oauth-token")}
}

// do makes a request with a body of JSON (or what kind says) and returns the
// answer's.
func (c *controller) do(ctx context.Context, method, path, kind string, body []byte) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://api."+domain+path, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", c.token)
	req.Header.Set("Content-Type", kind)
	resp, err := c.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("%s: %w", c.node.Name, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s %s: %s: %s", c.node.Name, method, path, resp.Status, text)
	}
	return string(text), err
}

func (c *controller) json(ctx context.Context, t *testing.T, method, path string, body any) string {
	t.Helper()
	b, err := json.Marshal(body)
	must(t, err)
	out, err := c.do(ctx, method, path, "application/json", b)
	must(t, err)
	return out
}

// readYourWrites writes through each controller and reads through all others
// at once.
func readYourWrites(t *testing.T, c *cloud) {
	u := c.newUser(t)
	ctx := bounded(t, patience)
	app := u.push("everywhere", 1)
	var all []*controller
	for _, n := range c.Nodes() {
		all = append(all, u.controller(n))
	}
	for round := range 30 {
		writer := all[round%len(all)]
		value := fmt.Sprint("round-", round)
		writer.json(ctx, t, "PATCH", "/v3/apps/"+app, map[string]any{
			"metadata": map[string]any{"annotations": map[string]string{"round": value}},
		})
		for _, reader := range all {
			out := reader.json(ctx, t, "GET", "/v3/apps/"+app, nil)
			if got, err := pick(out, ".metadata.annotations.round"); err != nil || got != value {
				t.Fatalf("written through %s: %s reads %q, %v instead of %q", writer.node.Name, reader.node.Name, got, err, value)
			}
		}
	}
}

// blobsOutliveAController: what one controller has taken is on a majority when
// it says so, and outlives it; one that lacks a blob serves it nevertheless,
// and has it then.
func blobsOutliveAController(t *testing.T, c *cloud) {
	u := c.newUser(t)
	ctx := bounded(t, 3*time.Minute)
	primary, err := c.Primary(ctx)
	must(t, err)
	// Not the Primary: its loss is another story.
	taker := u.controller(c.without(primary)[0])
	u.run("create-app", "outlives")
	app := u.run("app", "outlives", "--guid")
	u.run("curl", "--fail", "-X", "PATCH", "/v3/apps/"+app, "-d", `{"lifecycle":{"type":"buildpack","data":{"buildpacks":["binary_buildpack"]}}}`)
	pkg, err := pick(taker.json(ctx, t, "POST", "/v3/packages", map[string]any{
		"type": "bits", "relationships": map[string]any{"app": map[string]any{"data": map[string]string{"guid": app}}},
	}), ".guid")
	must(t, err)
	kind, form := bits(t, filepath.Join(u.dir, "identity"))
	_, err = taker.do(ctx, "POST", "/v3/packages/"+pkg+"/upload", kind, form)
	must(t, err)
	var digest string
	must(t, c.WaitFor(ctx, "the package to be ready", func() error {
		out := taker.json(ctx, t, "GET", "/v3/packages/"+pkg, nil)
		if digest, err = pick(out, ".data.checksum.value"); err != nil {
			return err
		}
		if s, err := pick(out, ".state"); err != nil || s != "READY" {
			return fmt.Errorf("it is %s, %w", s, err)
		}
		return nil
	}))
	if on := c.holders(digest); len(on) < 2 {
		t.Errorf("the package was acknowledged and is on %v only", on)
	}
	must(t, taker.node.Kill(ctx))
	c.avoid.Store(taker.node)
	defer func() {
		must(t, taker.node.Start(context.WithoutCancel(ctx)))
		must(t, c.WaitHealthy(context.WithoutCancel(ctx)))
		c.avoid.Store(nil)
	}()
	if out := u.run("stage-package", "outlives", "--package-guid", pkg); !strings.Contains(out, "droplet guid") {
		t.Errorf("cf stage-package: %s", out)
	}

	// A controller that has lost its copy.
	lacking := u.controller(primary)
	must(t, os.Remove(blobFile(primary, digest)))
	body, err := lacking.do(ctx, "GET", "/v3/packages/"+pkg+"/download", "", nil)
	must(t, err)
	if len(body) < 100 || body[:2] != "PK" {
		t.Errorf("%s gives %d bytes that are no zip", primary.Name, len(body))
	}
	must(t, c.WaitFor(ctx, primary.Name+" to have the package again", func() error {
		if blobFile(primary, digest) == "" {
			return errors.New("it has not")
		}
		return nil
	}))
}

// bits is a multipart form with a zip of a directory's one file.
func bits(t *testing.T, dir string) (kind string, body []byte) {
	t.Helper()
	var out bytes.Buffer
	form := multipart.NewWriter(&out)
	part, err := form.CreateFormFile("bits", "package.zip")
	must(t, err)
	must(t, zipDir(part, dir))
	must(t, form.Close())
	return form.FormDataContentType(), out.Bytes()
}

// holders names the nodes that have a blob on their disks.
func (c *cloud) holders(digest string) (names []string) {
	for _, n := range c.Nodes() {
		if blobFile(n, digest) != "" {
			names = append(names, n.Name)
		}
	}
	return names
}

// blobFile is where a node has a blob, "" if it has not.
func blobFile(n *cluster.Node, digest string) string {
	found, _ := filepath.Glob(n.HostPath(cluster.DataDir + "/controller/blobs/blobs/*/" + digest))
	if len(found) == 0 {
		return ""
	}
	return found[0]
}
