package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	"github.com/stackato/stackato/test/cluster"
)

// toolsOf reads what an operator gives the consul and nomad commands on a
// controller.
func toolsOf(n *cluster.Node) (map[string]string, error) {
	b, err := os.ReadFile(n.HostPath(cluster.DataDir + "/tools.env"))
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			out[k] = v
		}
	}
	return out, nil
}

// api asks the Consul or Nomad agent of a controller, on the node's loopback.
func api(ctx context.Context, n *cluster.Node, method, url string, body io.Reader, out any) error {
	tools, err := toolsOf(n)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DialContext: n.Dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	req.Header.Set("X-Consul-Token", tools["CONSUL_HTTP_TOKEN"])
	req.Header.Set("X-Nomad-Token", tools["NOMAD_TOKEN"])
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s: %s: %s", n.Name, method, url, resp.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

const (
	consulURL = "http://127.0.0.1:8500/v1/"
	nomadURL  = "http://127.0.0.1:4646/v1/"
)

// servers says who takes part in the Raft group of Consul or Nomad, as that
// itself tells on node n.
func servers(ctx context.Context, n *cluster.Node, url string) (voters, others []node.ID, leader node.ID, err error) {
	var out struct {
		Servers []struct {
			ID            node.ID
			Leader, Voter bool
		}
	}
	if err := api(ctx, n, http.MethodGet, url+"operator/raft/configuration", nil, &out); err != nil {
		return nil, nil, "", err
	}
	for _, s := range out.Servers {
		if s.Voter {
			voters = append(voters, s.ID)
		} else {
			others = append(others, s.ID)
		}
		if s.Leader {
			leader = s.ID
		}
	}
	slices.Sort(voters)
	return voters, others, leader, nil
}

// inAgreement holds everything that knows the members against each other, as
// node n sees it: the nodes table and Raft's voters, gossip, Consul's and
// Nomad's servers, Consul's members and Nomad's clients. count members and
// voters are wanted, all healthy.
func inAgreement(ctx context.Context, n *cluster.Node, count, voters int) error {
	status, err := n.Client().Status(ctx, true)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	if len(status.Nodes) != count || len(status.Voters) != voters || !status.Healthy() {
		return fmt.Errorf("%s: %s", n.Name, describe(status))
	}
	var votes []node.ID
	var all, dea []string
	for _, m := range status.Nodes {
		if m.Gossip != "alive" {
			return fmt.Errorf("%s takes %s for %s by gossip", n.Name, m.Name, m.Gossip)
		}
		if m.Voter == local.VoterPrimary || m.Voter == local.VoterVoter {
			votes = append(votes, m.ID)
		}
		all = append(all, m.Name)
		for _, r := range m.Roles {
			if r.Role == node.DEA {
				dea = append(dea, m.Name)
			}
		}
	}
	slices.Sort(votes)
	for _, at := range [][2]string{{"Consul", consulURL}, {"Nomad", nomadURL}} {
		program, url := at[0], at[1]
		got, others, leader, err := servers(ctx, n, url)
		if err != nil {
			return err
		}
		if d := cmp.Diff(votes, got); d != "" || len(others) > 0 || leader == "" {
			return fmt.Errorf("%s, as %s sees it: leader %q, non-voters %v, voters (-of our Raft +of %s):\n%s", program, n.Name, leader, others, program, d)
		}
	}
	return errors.Join(consulAgrees(ctx, n, all), nomadAgrees(ctx, n, dea, voters))
}

func describe(s local.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Primary %q, %d nodes, voters %v", s.Primary, len(s.Nodes), s.Voters)
	for _, m := range s.Nodes {
		if !m.Reachable {
			fmt.Fprintf(&b, "; %s does not answer: %s", m.Name, m.Error)
		}
		for _, r := range m.Roles {
			if r.State.Bad() {
				fmt.Fprintf(&b, "; %s on %s is %s: %s", r.Role, m.Name, r.State, r.Detail)
			}
		}
	}
	return b.String()
}

// consulAgrees holds Consul's members and catalog against the nodes.
func consulAgrees(ctx context.Context, n *cluster.Node, want []string) error {
	const alive = 1 // serf.StatusAlive
	var members []struct {
		Name   string
		Status int
	}
	var nodes []struct{ Node string }
	if err := errors.Join(
		api(ctx, n, http.MethodGet, consulURL+"agent/members", nil, &members),
		api(ctx, n, http.MethodGet, consulURL+"catalog/nodes", nil, &nodes),
	); err != nil {
		return err
	}
	const left = 3 // serf.StatusLeft: kept for a while, and said to be gone
	var here, listed []string
	for _, m := range members {
		switch m.Status {
		case alive:
			here = append(here, m.Name)
		case left:
		default:
			return fmt.Errorf("consul members on %s: %s has status %d", n.Name, m.Name, m.Status)
		}
	}
	for _, m := range nodes {
		listed = append(listed, m.Node)
	}
	slices.Sort(here)
	slices.Sort(listed)
	if d := cmp.Diff(want, here); d != "" {
		return fmt.Errorf("consul members on %s (-nodes +alive):\n%s", n.Name, d)
	}
	if d := cmp.Diff(want, listed); d != "" {
		return fmt.Errorf("consul catalog on %s (-nodes +catalog):\n%s", n.Name, d)
	}
	return nil
}

// nomadAgrees holds Nomad's clients and server members against the nodes.
func nomadAgrees(ctx context.Context, n *cluster.Node, dea []string, voters int) error {
	var clients []struct{ Name, Status string }
	var members struct {
		Members []struct{ Name, Status string }
	}
	if err := errors.Join(
		api(ctx, n, http.MethodGet, nomadURL+"nodes", nil, &clients),
		api(ctx, n, http.MethodGet, nomadURL+"agent/members", nil, &members),
	); err != nil {
		return err
	}
	var ready []string
	for _, c := range clients {
		if c.Status != "ready" {
			return fmt.Errorf("nomad node status on %s: %s is %s", n.Name, c.Name, c.Status)
		}
		ready = append(ready, c.Name)
	}
	slices.Sort(ready)
	if d := cmp.Diff(dea, ready); d != "" {
		return fmt.Errorf("nomad node status on %s (-nodes with dea +clients):\n%s", n.Name, d)
	}
	alive := 0
	for _, m := range members.Members {
		switch m.Status {
		case "alive":
			alive++
		case "left":
		default:
			return fmt.Errorf("nomad server members on %s: %s is %s", n.Name, m.Name, m.Status)
		}
	}
	if alive != voters {
		return fmt.Errorf("nomad server members on %s: %d are alive, not %d", n.Name, alive, voters)
	}
	return nil
}

// waitAgreement waits until inAgreement holds on each of the nodes. It logs
// what it waits for.
func waitAgreement(ctx context.Context, t *testing.T, c *cluster.Cluster, count, voters int, nodes ...*cluster.Node) {
	t.Helper()
	began := time.Now()
	last := ""
	err := c.WaitFor(ctx, fmt.Sprintf("%d members and %d voters by everybody's word", count, voters), func() error {
		for _, n := range nodes {
			if err := inAgreement(ctx, n, count, voters); err != nil {
				if text, _, _ := strings.Cut(err.Error(), "\n"); text != last {
					t.Logf("after %s: %s", time.Since(began).Round(100*time.Millisecond), text)
					last = text
				}
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d members and %d voters agree after %s", count, voters, time.Since(began).Round(100*time.Millisecond))
}
