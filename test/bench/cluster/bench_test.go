package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stackato/stackato/agent/cluster"
	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
	nodes "github.com/stackato/stackato/test/cluster"
)

// failoverRounds is how many kills the failover figures are made of.
const failoverRounds = 20

// BenchmarkFailover kills the node that is both Primary and Consul's leader
// and measures, in the same kill, until a surviving node gets its next write
// acknowledged by each of the two.
func BenchmarkFailover(b *testing.B) {
	c, ctx := formed(b, 3, nil)
	for b.Loop() {
		var ours, theirs []time.Duration
		for range failoverRounds {
			o, t := failover(ctx, b, c)
			ours, theirs = append(ours, o), append(theirs, t)
		}
		report(b, "stackato", ours)
		report(b, "consul", theirs)
	}
}

// failover makes one round: align the leaders, kill, measure, bring back.
func failover(ctx context.Context, b *testing.B, c *nodes.Cluster) (ours, theirs time.Duration) {
	must(b, c.WaitHealthy(ctx))
	must(b, c.WaitFor(ctx, "three voters of Consul", func() error { return threeVoters(ctx, c) }))
	primary, err := c.Primary(ctx)
	must(b, err)
	alignConsul(ctx, b, c, primary)
	survivor := c.Nodes()[slices.IndexFunc(c.Nodes(), func(n *nodes.Node) bool { return n != primary })]
	client, kv := survivor.Client(), consulOf(b, survivor)
	defer kv.close()

	must(b, primary.Kill(ctx))
	killed := time.Now()
	took := make(chan time.Duration, 1)
	go func() {
		untilOK(ctx, func(ctx context.Context) error { return kv.put(ctx, "bench", fmt.Sprint(killed.UnixNano())) })
		took <- time.Since(killed)
	}()
	untilOK(ctx, func(ctx context.Context) error {
		_, err := client.ConfigSet(ctx, local.ConfigSetRequest{Key: "bench/write", Value: json.RawMessage(fmt.Sprint(killed.UnixNano())), Force: true})
		return err
	})
	ours = time.Since(killed)
	theirs = <-took
	must(b, primary.Start(ctx))
	must(b, primary.WaitAgent(ctx))
	b.Logf("killed %s: stackato %s, consul %s", primary.Name, ours.Round(time.Millisecond), theirs.Round(time.Millisecond))
	return ours, theirs
}

// threeVoters is nil when Consul has three voters, as before the first kill.
func threeVoters(ctx context.Context, c *nodes.Cluster) error {
	kv, err := dialConsul(c.Node(0))
	if err != nil {
		return err
	}
	defer kv.close()
	peers, err := kv.peers(ctx)
	if err != nil {
		return err
	}
	voters := 0
	for _, p := range peers {
		if p.Voter {
			voters++
		}
	}
	if voters != 3 {
		return fmt.Errorf("%d voters", voters)
	}
	return nil
}

// alignConsul makes the Primary's Consul server Consul's leader.
func alignConsul(ctx context.Context, b *testing.B, c *nodes.Cluster, primary *nodes.Node) {
	id := assignment(b, primary).Self.ID
	must(b, c.WaitFor(ctx, "Consul's leader on the Primary", func() error {
		kv, err := dialConsul(primary)
		if err != nil {
			return err
		}
		defer kv.close()
		peers, err := kv.peers(ctx)
		if err != nil {
			return err
		}
		for _, p := range peers {
			if p.Leader && p.ID == string(id) {
				return nil
			}
		}
		if err := kv.transfer(ctx, string(id)); err != nil {
			return err
		}
		return fmt.Errorf("another node leads")
	}))
}

// BenchmarkJoin measures from the join command until the node is in Consul's
// catalog and its Consul, Nomad and Docker are ready.
func BenchmarkJoin(b *testing.B) {
	c, ctx := formed(b, 1, nil)
	for b.Loop() {
		var took []time.Duration
		for range 5 {
			n, err := c.Add(ctx)
			must(b, err)
			must(b, n.WaitAgent(ctx))
			must(b, c.WaitFor(ctx, "Docker on the new node", func() error { _, err := n.Exec(ctx, "docker", "info"); return err }))
			began := time.Now()
			must(b, n.Join(ctx, c.Node(0), nodes.MembershipOptions{Roles: []string{"dea"}}))
			must(b, c.WaitFor(ctx, "the node in the catalog and ready", func() error {
				if err := n.Client().Health(ctx); err != nil {
					return err
				}
				kv, err := dialConsul(c.Node(0))
				if err != nil {
					return err
				}
				defer kv.close()
				return kv.passing(ctx, n.Name, "dea")
			}))
			took = append(took, time.Since(began))
			b.Logf("%s joined: %s", n.Name, took[len(took)-1].Round(time.Millisecond))
		}
		report(b, "join", took)
	}
}

// BenchmarkRoleChange measures from the command until the last of five nodes
// has the new role set on its disk.
func BenchmarkRoleChange(b *testing.B) {
	c, ctx := formed(b, 5, nil)
	for b.Loop() {
		var took []time.Duration
		for i := range 20 {
			op := local.RoleAdd
			if i%2 == 1 {
				op = local.RoleRemove
			}
			began := time.Now()
			r, err := c.Node(0).Client().ChangeRoles(ctx, local.RoleChange{Node: "n5", Op: op, Names: []string{"memcached"}}, func(local.Step) {})
			must(b, err)
			for !everyoneKnows(b, c, r.Generation) {
				must(b, ctx.Err())
				time.Sleep(2 * time.Millisecond)
			}
			took = append(took, time.Since(began))
		}
		report(b, "rolechange", took)
	}
}

// everyoneKnows reports whether every node works from that generation of n5's
// roles.
func everyoneKnows(b *testing.B, c *nodes.Cluster, generation uint64) bool {
	for _, n := range c.Nodes() {
		a := assignment(b, n)
		i := slices.IndexFunc(a.Nodes, func(x node.Node) bool { return x.Name == "n5" })
		if a.Nodes[i].Generation < generation {
			return false
		}
	}
	return true
}

// formed returns a healthy cluster of n nodes.
func formed(b *testing.B, n int, roles func(int) []string) (*nodes.Cluster, context.Context) {
	b.Helper()
	os.Setenv("STACKATO_TEST_DOCKER", "1")
	ctx, cancel := context.WithTimeout(b.Context(), 25*time.Minute)
	b.Cleanup(cancel)
	c := nodes.New(b, nodes.Options{Nodes: n, Roles: roles})
	must(b, c.Form(ctx))
	must(b, c.WaitHealthy(ctx))
	return c, ctx
}

// assignment reads what a node works from.
func assignment(b *testing.B, n *nodes.Node) cluster.Assignment {
	b.Helper()
	var a cluster.Assignment
	data, err := os.ReadFile(n.HostPath("/var/lib/stackato/assignment.json"))
	must(b, err)
	must(b, json.Unmarshal(data, &a))
	return a
}

// untilOK repeats try, each time with a short deadline, until it succeeds.
func untilOK(ctx context.Context, try func(context.Context) error) {
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		err := try(one)
		cancel()
		if err == nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func report(b *testing.B, name string, d []time.Duration) {
	slices.Sort(d)
	b.ReportMetric(float64(d[len(d)/2].Microseconds())/1000, name+"-median-ms")
	b.ReportMetric(float64(d[len(d)-1].Microseconds())/1000, name+"-worst-ms")
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
