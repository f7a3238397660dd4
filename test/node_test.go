package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stackato/stackato/test/cluster"
)

// get asks the health and metrics address of a node, on its loopback.
func get(ctx context.Context, n *cluster.Node, path string) (code int, body string, err error) {
	client := &http.Client{Transport: &http.Transport{DialContext: n.Dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:7302"+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// healthOfNodes holds what monitoring and Consul's checks ask for: the first
// node is a controller with dea, the second a dea.
func healthOfNodes(ctx context.Context, t *testing.T, c *cluster.Cluster) {
	tests := []struct {
		node, code int
		path       string
		want       []string
	}{
		{0, 200, "/v1/health", []string{`"ok"`}},
		{0, 200, "/v1/roles/controller", []string{`"ok"`}},
		{0, 200, "/v1/roles/dea", []string{`"ok"`}},
		{0, 200, "/v1/roles/router", []string{`"ok"`}},
		{1, 200, "/v1/health", []string{`"ok"`}},
		{1, 503, "/v1/roles/controller", []string{"the node does not have the role controller"}},
		{0, 200, "/metrics", []string{
			"stackato_agent_info{version=", "stackato_primary 1\n", "stackato_voters 1\n", "stackato_nodes 2\n",
			"stackato_state_index ", "stackato_certificate_expiry_seconds ", "stackato_rpc_seconds_count{", "process_resident_memory_bytes ",
		}},
		{1, 200, "/metrics", []string{"stackato_primary 0\n", "stackato_nodes 2\n"}},
	}
	// As a load balancer asks, from another machine.
	resp, err := http.Get("http://" + net.JoinHostPort(c.Node(0).Address, "7304") + "/health")
	if err != nil {
		t.Error(err)
	} else if resp.Body.Close(); resp.StatusCode != http.StatusOK {
		t.Errorf("the router's health is %s", resp.Status)
	}
	for _, tt := range tests {
		code, body, err := get(ctx, c.Node(tt.node), tt.path)
		if err != nil || code != tt.code {
			t.Errorf("%s%s: status %d, %v, want %d: %s", c.Node(tt.node).Name, tt.path, code, err, tt.code, body)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s%s does not have %q:\n%s", c.Node(tt.node).Name, tt.path, want, body)
			}
		}
	}
}

// secretsOfNodes looks for the secrets of a node in the logs and command lines of
// its processes.
func secretsOfNodes(t *testing.T, c *cluster.Cluster) {
	for _, n := range c.Nodes() {
		secrets, err := secretsOf(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(secrets) < 3 {
			t.Fatalf("%s: only %d secrets are known", n.Name, len(secrets))
		}
		places := map[string][]byte{}
		for _, pattern := range []string{cluster.DataDir + "/logs/*", cluster.LogDir + "/*"} {
			files, err := filepath.Glob(n.HostPath(pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				if st, err := os.Stat(file); err != nil || st.IsDir() {
					continue // the apps' own lines
				}
				if places[file], err = os.ReadFile(file); err != nil {
					t.Fatal(err)
				}
			}
		}
		processes, err := n.Processes()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range processes {
			places["the command line of "+p.Args[0]] = []byte(strings.Join(p.Args, " "))
		}
		if len(places) < 6 {
			t.Fatalf("%s: nowhere to look: %d places", n.Name, len(places))
		}
		for place, text := range places {
			for name, secret := range secrets {
				if bytes.Contains(text, []byte(secret)) {
					t.Errorf("%s: %s shows %s", n.Name, place, name)
				}
			}
		}
	}
}

// secretsOf collects what a node keeps to itself: long texts of its assignment
// under names that tell of a secret, the tokens for the tools, the first
// log-in.
func secretsOf(n *cluster.Node) (map[string]string, error) {
	found := map[string]string{}
	b, err := os.ReadFile(n.HostPath(cluster.DataDir + "/assignment.json"))
	if err != nil {
		return nil, err
	}
	var assignment map[string]any
	if err := json.Unmarshal(b, &assignment); err != nil {
		return nil, err
	}
	var walk func(name string, v any)
	walk = func(name string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, inner := range v {
				walk(name+"."+k, inner)
			}
		case []any:
			for i, inner := range v {
				walk(fmt.Sprintf("%s[%d]", name, i), inner)
			}
		case string:
			for _, word := range []string{"gossip_keys", "consul_gossip", "nomad_gossip", "consul_token", "consul_management", "authority_key"} {
				if strings.Contains(name, word) && len(v) >= 16 {
					found[name] = v
				}
			}
		}
	}
	walk("assignment", assignment)
	for file, separator := range map[string]string{"tools.env": "_TOKEN=", "admin.txt": "password: "} {
		b, err := os.ReadFile(n.HostPath(cluster.DataDir + "/" + file))
		if os.IsNotExist(err) {
			continue // controllers only
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), separator); ok {
				found[file+" "+name] = value
			}
		}
	}
	return found, nil
}
