package micro

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Domain is the micro cloud's.
const Domain = "stackato.localhost"

const (
	callTimeout = 30 * time.Second
	tokenAge    = 5 * time.Minute // a new one is asked for after that
)

// Cloud is the micro cloud, seen by its administrator. It is safe for
// concurrent use.
type Cloud struct {
	tb       testing.TB
	data     string
	client   *http.Client
	password string
	tools    map[string]string // of tools.env

	mu      sync.Mutex
	token   string
	renewed time.Time
}

// Open logs in to the micro cloud of this machine. Where there is none it skips
// the benchmark.
func Open(tb testing.TB) *Cloud {
	tb.Helper()
	data := cmp.Or(os.Getenv("STACKATO_BENCH_DATA"), "/var/lib/stackato")
	ca, err := os.ReadFile(filepath.Join(data, "router-ca.crt"))
	if err != nil {
		skip(tb, "no micro cloud in %s (start one as root: make micro): %v", data, err)
	}
	admin, err := os.ReadFile(filepath.Join(data, "admin.txt"))
	if err != nil {
		skip(tb, "the administrator's first password is not there any more: %v", err)
	}
	c := &Cloud{tb: tb, data: data, tools: readTools(filepath.Join(data, "tools.env"))}
	_, rest, _ := strings.Cut(string(admin), "password: ")
	c.password, _, _ = strings.Cut(rest, "\n")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	c.client = &http.Client{Transport: &http.Transport{
		DialContext:         dialRouter,
		TLSClientConfig:     &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 64,
	}}
	tb.Cleanup(c.client.CloseIdleConnections)
	if _, err := c.bearer(tb.Context()); err != nil {
		skip(tb, "the micro cloud of %s does not let admin in (is it running? make micro): %v", data, err)
	}
	return c
}

// skip says why also where "go test" is not told to be verbose.
func skip(tb testing.TB, format string, args ...any) {
	tb.Helper()
	why := fmt.Sprintf(format, args...)
	fmt.Fprintf(os.Stderr, "%s is skipped: %s\n", tb.Name(), why)
	tb.Skip(why)
}

// dialRouter reaches the router of this machine, whatever the host's name.
func dialRouter(ctx context.Context, network, address string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: callTimeout}
	return d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
}

// Tool is a variable of tools.env, such as NOMAD_TOKEN.
func (c *Cloud) Tool(name string) string { return c.tools[name] }

// StackImage is the image that apps run in, as kato tells; kato must be on PATH.
func (c *Cloud) StackImage() string {
	c.tb.Helper()
	cmd := exec.CommandContext(c.tb.Context(), "kato", "config", "get", "cloud/stack_image")
	cmd.Env = append(os.Environ(), "STACKATO_SOCKET="+filepath.Join(c.data, "run/agent.sock"))
	out, err := cmd.Output()
	if err != nil {
		skip(c.tb, "kato config get cloud/stack_image: %v (PATH must have the repository's bin/)", err)
	}
	return strings.Trim(strings.TrimSpace(string(out)), `"`)
}

func readTools(file string) map[string]string {
	out := map[string]string{}
	data, _ := os.ReadFile(file) // rivals say what they miss
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			out[name] = strings.Trim(value, `"'`)
		}
	}
	return out
}

// bearer is a token that is good for minutes.
func (c *Cloud) bearer(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.renewed) < tokenAge {
		return c.token, nil
	}
	form := url.Values{"grant_type": {"password"}, "username": {"admin"}, "password": {c.password}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://login."+Domain+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.SetBasicAuth("cf", "")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		Token string `json:"access_token"`
	}
	if _, err := c.send(req, &answer); err != nil {
		return "", err
	}
	c.token, c.renewed = answer.Token, time.Now()
	return c.token, nil
}

// Do calls the API: in is sent as JSON unless it is nil or an *Upload; the
// answer is decoded into out unless that is nil. It returns the Location of the
// answer. A status of 300 or more is an error.
func (c *Cloud) Do(ctx context.Context, method, path string, in, out any) (location string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	token, err := c.bearer(ctx)
	if err != nil {
		return "", err
	}
	var body io.Reader
	kind := "application/json"
	switch v := in.(type) {
	case nil:
	case *Upload:
		body, kind = bytes.NewReader(v.body), v.contentType
	default:
		data, err := json.Marshal(in)
		if err != nil {
			return "", err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://api."+Domain+path, body)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "bearer "+token)
	req.Header.Set("Content-Type", kind)
	return c.send(req, out)
}

func (c *Cloud) send(req *http.Request, out any) (location string, err error) {
	resp, err := c.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode >= 300 {
		return "", fmt.Errorf("%s %s: status %d: %s", req.Method, req.URL.Path, resp.StatusCode, data)
	}
	if out != nil {
		err = json.Unmarshal(data, out)
	}
	return resp.Header.Get("Location"), err
}

// must is Do that ends the benchmark when it fails.
func (c *Cloud) must(method, path string, in, out any) (location string) {
	c.tb.Helper()
	location, err := c.Do(c.tb.Context(), method, path, in, out)
	if err != nil {
		c.tb.Fatal(err)
	}
	return location
}

// Client sends requests to any host of the cloud through its router.
func (c *Cloud) Client() *http.Client { return c.client }
