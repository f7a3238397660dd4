package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/stackato/stackato/agent/cluster"
	nodes "github.com/stackato/stackato/test/cluster"
)

// consulAPI speaks to the Consul agent of a node, which listens on the node's
// loopback: connections are made inside the node's network namespace.
type consulAPI struct {
	client *http.Client
	token  string
}

func consulOf(b *testing.B, n *nodes.Node) *consulAPI {
	b.Helper()
	c, err := dialConsul(n)
	must(b, err)
	return c
}

func dialConsul(n *nodes.Node) (*consulAPI, error) {
	data, err := os.ReadFile(n.HostPath("/var/lib/stackato/assignment.json"))
	if err != nil {
		return nil, err
	}
	var a cluster.Assignment
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, err
	}
	if a.Controller == nil {
		return nil, errors.New("not a controller")
	}
	return &consulAPI{&http.Client{Transport: &http.Transport{DialContext: n.Dial}}, a.Controller.ConsulManagement}, nil
}

func (c *consulAPI) close() { c.client.CloseIdleConnections() }

func (c *consulAPI) do(ctx context.Context, method, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1:8500"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Consul-Token", c.token)
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

func (c *consulAPI) put(ctx context.Context, key, value string) error {
	var ok bool
	if err := c.do(ctx, http.MethodPut, "/v1/kv/"+key, []byte(value), &ok); err != nil {
		return err
	}
	if !ok {
		return errors.New("not written")
	}
	return nil
}

type peer struct {
	ID     string
	Leader bool
	Voter  bool
}

func (c *consulAPI) peers(ctx context.Context) ([]peer, error) {
	var out struct{ Servers []peer }
	err := c.do(ctx, http.MethodGet, "/v1/operator/raft/configuration", nil, &out)
	return out.Servers, err
}

func (c *consulAPI) transfer(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, "/v1/operator/raft/transfer-leader?id="+id, nil, nil)
}

// passing is nil when a service of the node is in the catalog with passing
// checks.
func (c *consulAPI) passing(ctx context.Context, nodeName, service string) error {
	var out []struct{ Node struct{ Node string } }
	if err := c.do(ctx, http.MethodGet, "/v1/health/service/"+service+"?passing", nil, &out); err != nil {
		return err
	}
	for _, e := range out {
		if e.Node.Node == nodeName {
			return nil
		}
	}
	return fmt.Errorf("%s on %s is not in the catalog or not passing", service, nodeName)
}
