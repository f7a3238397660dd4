package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/test/cluster"
)

// TestKillChildren kills the agent, Nomad and Consul, one at a time and all at
// once, while a container that Nomad started runs on: the same container, in
// the same allocation.
func TestKillChildren(t *testing.T) {
	ctx := bounded(t, 90*time.Second)
	c := formed(ctx, t, cluster.Options{Nodes: 1})
	n := c.Node(0)
	startContainer(ctx, t, c, n)
	var before containerState
	must(t, c.WaitFor(ctx, "the container", func() (err error) {
		before, err = stateOf(ctx, n)
		return err
	}))
	programs := map[string]string{"stackato-agent": "", "nomad": "", "consul": ""}
	for _, victims := range [][]string{{"stackato-agent"}, {"nomad"}, {"consul"}, {"consul", "stackato-agent", "nomad"}} {
		old := pids(t, n, programs)
		for _, program := range victims {
			if program == "stackato-agent" {
				must(t, n.KillAgent(ctx))
			} else {
				must(t, n.KillProcess(ctx, program))
			}
		}
		if slices.Contains(victims, "stackato-agent") {
			must(t, n.StartAgent(ctx))
		}
		must(t, c.WaitFor(ctx, "the node to be well again", func() error {
			for program, pid := range pids(t, n, programs) {
				if killed := slices.Contains(victims, program); pid == "" || killed == (pid == old[program]) {
					return fmt.Errorf("%s has the process id %q, had %q", program, pid, old[program])
				}
			}
			return inAgreement(ctx, n, 1, 1)
		}))
		var after containerState
		must(t, c.WaitFor(ctx, "the allocation to be known", func() (err error) {
			after, err = stateOf(ctx, n)
			return err
		}))
		if d := cmp.Diff(before, after); d != "" {
			t.Errorf("killed %s: the container is another (-before +after):\n%s", strings.Join(victims, ", "), d)
		}
		t.Logf("killed %s: the container runs on", strings.Join(victims, ", "))
	}
	t.Run("zones reach Nomad", func(t *testing.T) { zonesReachNomad(ctx, t, c, n, pids(t, n, programs)["nomad"]) })
	t.Run("kato restarts a process", func(t *testing.T) {
		old := pids(t, n, programs)
		_, err := n.Kato(ctx, "process", "restart", "nomad")
		must(t, err)
		if _, err = n.Kato(ctx, "process", "ready", "nomad", "--block", "30"); err != nil {
			t.Error(err)
		}
		now := pids(t, n, programs)
		if now["nomad"] == old["nomad"] || now["nomad"] == "" || now["consul"] != old["consul"] || now["stackato-agent"] != old["stackato-agent"] {
			t.Errorf("processes %v, before the restart of Nomad %v", now, old)
		}
		sameContainer(ctx, t, c, n, before)
	})
	t.Run("kato restarts a role", func(t *testing.T) {
		old := pids(t, n, programs)
		_, err := n.Kato(ctx, "restart", "dea")
		must(t, err)
		if now := pids(t, n, programs); now["nomad"] == old["nomad"] || now["nomad"] == "" || now["stackato-agent"] != old["stackato-agent"] {
			t.Errorf("processes %v, before the restart of the role dea %v", now, old)
		}
		sameContainer(ctx, t, c, n, before)
	})
}

// sameContainer waits until Nomad knows the container that ran before.
func sameContainer(ctx context.Context, t *testing.T, c *cluster.Cluster, n *cluster.Node, before containerState) {
	t.Helper()
	must(t, c.WaitFor(ctx, "the same container", func() error {
		after, err := stateOf(ctx, n)
		if err == nil && after != before {
			err = fmt.Errorf("%+v, was %+v", after, before)
		}
		return err
	}))
}

// zonesReachNomad: what an operator says of a node is metadata of its Nomad
// client soon, in the same process.
func zonesReachNomad(ctx context.Context, t *testing.T, c *cluster.Cluster, n *cluster.Node, nomadPID string) {
	_, err := n.Kato(ctx, "node", "placementzones", "add", "gpu")
	must(t, err)
	_, err = n.Kato(ctx, "node", "availabilityzone", "eu-1c")
	must(t, err)
	must(t, c.WaitFor(ctx, "the zones in Nomad's metadata", func() error {
		var nodes []struct{ ID string }
		if err := api(ctx, n, http.MethodGet, nomadURL+"nodes", nil, &nodes); err != nil || len(nodes) != 1 {
			return fmt.Errorf("nodes %+v: %w", nodes, err)
		}
		var out struct{ Meta map[string]string }
		if err := api(ctx, n, http.MethodGet, nomadURL+"node/"+nodes[0].ID, nil, &out); err != nil {
			return err
		}
		if out.Meta["placement_zone_gpu"] != "true" || out.Meta["stackato_zone"] != "eu-1c" || out.Meta["role_dea"] != "true" {
			return fmt.Errorf("metadata %v", out.Meta)
		}
		return nil
	}))
	if found := pids(t, n, map[string]string{"nomad": ""}); found["nomad"] != nomadPID {
		t.Errorf("Nomad has the process id %s, had %s: it was restarted", found["nomad"], nomadPID)
	}
}

// pids returns the host process id of each program's daemon, "" if it does
// not run once.
func pids(t *testing.T, n *cluster.Node, programs map[string]string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for program := range programs {
		found, err := n.PIDs(program)
		must(t, err)
		if len(found) == 1 {
			out[program] = fmt.Sprint(found[0])
		} else {
			out[program] = ""
		}
	}
	return out
}

// containerState identifies what runs.
type containerState struct {
	Container, StartedAt string // by Docker
	Allocation           string // by Nomad
}

func stateOf(ctx context.Context, n *cluster.Node) (containerState, error) {
	var s containerState
	out, err := n.Exec(ctx, "docker", "ps", "--no-trunc", "--format", "{{.ID}}")
	if err != nil {
		return s, err
	}
	s.Container = strings.TrimSpace(out)
	if len(s.Container) != 64 {
		return s, fmt.Errorf("not one container runs: %q", out)
	}
	if s.StartedAt, err = n.Exec(ctx, "docker", "inspect", "--format", "{{.State.StartedAt}}", s.Container); err != nil {
		return s, err
	}
	var allocs []struct{ ID, ClientStatus string }
	if err := api(ctx, n, http.MethodGet, nomadURL+"job/sleeper/allocations?all=true", nil, &allocs); err != nil {
		return s, err
	}
	if len(allocs) != 1 || allocs[0].ClientStatus != "running" {
		return s, fmt.Errorf("allocations: %+v", allocs)
	}
	s.Allocation = allocs[0].ID
	return s, nil
}

// startContainer has Nomad run a container of an image made from the node's
// own files.
func startContainer(ctx context.Context, t *testing.T, c *cluster.Cluster, n *cluster.Node) {
	t.Helper()
	_, err := n.Exec(ctx, "sh", "-c", `set -e
		cd "$(mktemp -d)"; mkdir -p bin lib/x86_64-linux-gnu lib64
		cp /usr/bin/sleep bin/
		cp -L /lib/x86_64-linux-gnu/libc.so.6 lib/x86_64-linux-gnu/
		cp -L /lib64/ld-linux-x86-64.so.2 lib64/
		tar -c . | docker import - chaos/sleep:1`)
	must(t, err)
	type object = map[string]any
	job, err := json.Marshal(object{"Job": object{
		"ID": "sleeper", "Name": "sleeper", "Type": "service", "Datacenters": []string{"dc1"},
		"TaskGroups": []object{{
			"Name": "sleeper", "Count": 1,
			"Tasks": []object{{
				"Name": "sleep", "Driver": "docker",
				"Config":    object{"image": "chaos/sleep:1", "command": "/bin/sleep", "args": []string{"100000"}},
				"LogConfig": object{"Disabled": true},
				"Resources": object{"CPU": 20, "MemoryMB": 16},
			}},
		}},
	}})
	must(t, err)
	must(t, c.WaitFor(ctx, "Nomad to take the job", func() error {
		var out struct{ EvalID string }
		if err := api(ctx, n, http.MethodPost, nomadURL+"jobs", bytes.NewReader(job), &out); err != nil {
			return err
		}
		if out.EvalID == "" {
			return errors.New("no evaluation")
		}
		return nil
	}))
}
