package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stackato/stackato/agent/local"
	"github.com/stackato/stackato/agent/node"
)

// MembershipOptions describe a node at Init and Join.
type MembershipOptions struct {
	Roles []string // roles or groups; none leaves it to the agent
	Zone  string
	Token string // of Join; "" makes one for these roles
	By    string // of Join: how the primary is named; "" is its address
}

// Membership returns what Options say about the node.
func (n *Node) Membership() MembershipOptions {
	o := n.cluster.opts
	return MembershipOptions{Roles: o.Roles(n.index), Zone: o.Zone(n.index)}
}

func (n *Node) arguments(m MembershipOptions) []string {
	args := []string{"--name", n.Name, "--advertise", n.Address}
	if len(m.Roles) > 0 {
		args = append(args, "--roles", strings.Join(m.Roles, ","))
	}
	if m.Zone != "" {
		args = append(args, "--zone", m.Zone)
	}
	return args
}

// Init makes the node the first of a new cluster, with roles and zone from
// the Options, by stackato-agent init.
func (n *Node) Init(ctx context.Context) error {
	_, err := n.Exec(ctx, append([]string{"stackato-agent", "init"}, n.arguments(n.Membership())...)...)
	return err
}

// CreateToken makes a join token on this node, by stackato-agent token create.
// It allows the given roles; with none, every role but controller.
func (n *Node) CreateToken(ctx context.Context, uses int, roles ...string) (string, error) {
	args := []string{"stackato-agent", "token", "create", "--ttl", "1h", "--uses", strconv.Itoa(uses)}
	if len(roles) > 0 {
		args = append(args, "--roles", strings.Join(roles, ","))
	}
	out, err := n.Exec(ctx, args...)
	return strings.TrimSpace(out), err
}

// Join makes the node a member of primary's cluster, by stackato-agent join.
// The token goes by file, as it must.
func (n *Node) Join(ctx context.Context, primary *Node, m MembershipOptions) error {
	var err error
	if m.Token == "" {
		if m.Token, err = primary.CreateToken(ctx, 1, m.Roles...); err != nil {
			return err
		}
	}
	if err := n.control("token", m.Token+"\n"); err != nil {
		return err
	}
	_, err = n.Exec(ctx, append([]string{
		"stackato-agent", "join", cmp.Or(m.By, primary.Address),
		"--token-file", "/node/ctl/token",
	}, n.arguments(m)...)...)
	return errors.Join(err, n.uncontrol("token"))
}

// Leave takes the node out of its cluster, by stackato-agent leave.
func (n *Node) Leave(ctx context.Context, force bool) error {
	command := []string{"stackato-agent", "leave"}
	if force {
		command = append(command, "--force")
	}
	_, err := n.Exec(ctx, command...)
	return err
}

// Form makes a cluster of the nodes: the first one by Init, the others by
// Join in order, so that the first controllers are the voters. It returns
// when every node knows all of them, a Primary and its voters (not yet: when
// Consul and Nomad are ready, see [Cluster.WaitHealthy]).
func (c *Cluster) Form(ctx context.Context) error {
	nodes := c.Nodes()
	start := time.Now()
	if err := nodes[0].Init(ctx); err != nil {
		return err
	}
	c.opts.Logf("%s: %s is the first node, %s", c.Name, nodes[0].Name, since(start))
	if len(nodes) > 1 {
		var roles []string
		for _, n := range nodes[1:] {
			roles = append(roles, n.Membership().Roles...)
		}
		slices.Sort(roles)
		token, err := nodes[0].CreateToken(ctx, len(nodes)-1, slices.Compact(roles)...)
		if err != nil {
			return err
		}
		for _, n := range nodes[1:] {
			joined := time.Now()
			m := n.Membership()
			m.Token = token
			if err := n.Join(ctx, nodes[0], m); err != nil {
				return err
			}
			c.opts.Logf("%s: %s joined in %s", c.Name, n.Name, since(joined))
		}
	}
	if err := c.WaitMembers(ctx, len(nodes)); err != nil {
		return err
	}
	return c.WaitVoters(ctx)
}

// WaitVoters returns when every node that is on counts the voters that the
// controllers make: 1, 3 or 5. Before that a cluster of three controllers may
// have one voter, and does not survive its loss.
func (c *Cluster) WaitVoters(ctx context.Context) error {
	return c.WaitFor(ctx, "every controller to have its vote", func() error {
		for _, n := range c.Nodes() {
			if n.hostPID() == 0 {
				continue
			}
			members, err := n.Client().Nodes(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", n.Name, err)
			}
			controllers, voters := 0, 0
			for _, m := range members {
				if m.Roles.Has(node.Controller) {
					controllers++
				}
				if m.Voter == local.VoterVoter || m.Voter == local.VoterPrimary {
					voters++
				}
			}
			want := 1
			if controllers >= 3 {
				want = min(controllers-1+controllers%2, 5)
			}
			if voters != want {
				return fmt.Errorf("%s counts %d voters of %d controllers, not %d", n.Name, voters, controllers, want)
			}
		}
		return nil
	})
}

// WaitMembers returns when every node that is on names the same Primary and
// counts so many members.
func (c *Cluster) WaitMembers(ctx context.Context, count int) error {
	return c.WaitFor(ctx, fmt.Sprintf("%d members that agree on a Primary", count), func() error {
		primary := ""
		for _, n := range c.Nodes() {
			if n.hostPID() == 0 {
				continue
			}
			members, err := n.Client().Nodes(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", n.Name, err)
			}
			if len(members) != count {
				return fmt.Errorf("%s counts %d members, not %d", n.Name, len(members), count)
			}
			i := slices.IndexFunc(members, func(m local.NodeView) bool { return m.Primary })
			if i < 0 {
				return fmt.Errorf("%s knows no Primary", n.Name)
			}
			if primary == "" {
				primary = members[i].Name
			}
			if primary != members[i].Name {
				return fmt.Errorf("%s takes %s for the Primary, another node %s", n.Name, members[i].Name, primary)
			}
		}
		return nil
	})
}

// WaitHealthy returns when kato status -a would show every node reachable and
// every role running.
func (c *Cluster) WaitHealthy(ctx context.Context) error {
	return c.WaitFor(ctx, "every role of every node to run", func() error {
		primary, err := c.Primary(ctx)
		if err != nil {
			return err
		}
		status, err := primary.Client().Status(ctx, true)
		if err != nil {
			return err
		}
		return unhealthy(status)
	})
}

// unhealthy names the first thing that keeps a cluster from being healthy.
func unhealthy(s local.Status) error {
	for _, n := range s.Nodes {
		if !n.Reachable {
			return fmt.Errorf("%s does not answer: %s", n.Name, n.Error)
		}
		for _, r := range n.Roles {
			if r.State.Bad() {
				return fmt.Errorf("%s: role %s is %s: %s", n.Name, r.Role, r.State, r.Detail)
			}
		}
	}
	if !s.Healthy() {
		return errors.New("there is no Primary")
	}
	return nil
}

// Primary returns the node that knows itself to be the Primary. It asks every
// node that answers within a second, and fails when none is (an election is
// on) or when two claim it (one of them was paused or cut off and does not
// know better yet).
func (c *Cluster) Primary(ctx context.Context) (*Node, error) {
	var found *Node
	for _, n := range c.Nodes() {
		if n.hostPID() == 0 {
			continue
		}
		ask, cancel := context.WithTimeout(ctx, time.Second)
		info, err := n.Client().Info(ask)
		cancel()
		if err != nil || info.Voter != local.VoterPrimary {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("%s and %s both claim to be the Primary", found.Name, n.Name)
		}
		found = n
	}
	if found == nil {
		return nil, errors.New("no node is the Primary")
	}
	return found, nil
}

func since(start time.Time) time.Duration { return time.Since(start).Round(10 * time.Millisecond) }
