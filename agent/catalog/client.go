package catalog

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// callWithin bounds each call to the Consul agent.
const callWithin = 5 * time.Second

// client calls the services part of the local Consul agent's API.
type client struct {
	api       *api.Client
	transport *http.Transport
}

// ownTransport sets the token of each request and takes out what the API
// library reads from CONSUL_* variables: the agent's environment must not
// decide.
type ownTransport struct {
	token func() string
	next  http.RoundTripper
}

func (t ownTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del("X-Consul-Token")
	if token := t.token(); token != "" {
		r.Header.Set("X-Consul-Token", token)
	}
	q := r.URL.Query()
	q.Del("ns")
	q.Del("partition")
	r.URL.RawQuery = q.Encode()
	return t.next.RoundTrip(r)
}

func newClient(address string, token func() string) (*client, error) {
	dialer := net.Dialer{Timeout: 2 * time.Second}
	tr := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second}
	a, err := api.NewClient(&api.Config{
		Address: address, Scheme: "http",
		HttpClient: &http.Client{Transport: ownTransport{token, tr}},
	})
	if err != nil {
		return nil, fmt.Errorf("consul API at %s: %w", address, err)
	}
	return &client{a, tr}, nil
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// registered is an entry that the Consul agent has.
type registered struct {
	digest string // of what was registered
	status string // of its check, "" if that is gone
}

// list returns our entries by id.
func (c *client) list(ctx context.Context) (map[string]registered, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	q := (&api.QueryOptions{}).WithContext(ctx)
	services, err := c.api.Agent().ServicesWithFilterOpts("", q)
	if err != nil {
		return nil, fmt.Errorf("consul: list services: %w", err)
	}
	checks, err := c.api.Agent().ChecksWithFilterOpts("", q)
	if err != nil {
		return nil, fmt.Errorf("consul: list checks: %w", err)
	}
	out := map[string]registered{}
	for id, s := range services {
		if !strings.HasPrefix(id, IDPrefix) {
			continue
		}
		e := registered{digest: s.Meta[metaSpec]}
		if check := checks[checkID(id)]; check != nil {
			e.status = check.Status
		}
		out[id] = e
	}
	return out, nil
}

func (c *client) register(ctx context.Context, r *api.AgentServiceRegistration) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	opts := api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(ctx)
	if err := c.api.Agent().ServiceRegisterOpts(r, opts); err != nil {
		return fmt.Errorf("consul: register %s: %w", r.ID, err)
	}
	return nil
}

func (c *client) deregister(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	if err := c.api.Agent().ServiceDeregisterOpts(id, (&api.QueryOptions{}).WithContext(ctx)); err != nil {
		return fmt.Errorf("consul: deregister %s: %w", id, err)
	}
	return nil
}
