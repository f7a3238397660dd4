package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// Policy is an ACL policy; its name identifies it.
type Policy struct {
	Name        string
	Description string
	Rules       string // HCL
}

// Names of the policies that every cluster has.
const (
	servicesPolicy = "stackato-services"
	dnsPolicy      = "stackato-dns"
)

// ServicesPolicy lets a holder register the named services on its node, and
// read every node and service.
func ServicesPolicy(services []string) Policy {
	names := slices.Clone(services)
	slices.Sort(names)
	var b strings.Builder
	for _, n := range slices.Compact(names) {
		fmt.Fprintf(&b, "service %q { policy = \"write\" }\n", n)
	}
	b.WriteString("service_prefix \"\" { policy = \"read\" }\nnode_prefix \"\" { policy = \"read\" }\n")
	return Policy{servicesPolicy, "Services of Stackato nodes", b.String()}
}

// DNSPolicy lets a holder read every node and service: what DNS shows.
func DNSPolicy() Policy {
	return Policy{
		dnsPolicy, "What DNS answers",
		"service_prefix \"\" { policy = \"read\" }\nnode_prefix \"\" { policy = \"read\" }\n",
	}
}

// nodePolicy lets a node's token direct its own agent.
func nodePolicy(node string) Policy {
	return Policy{"stackato-node-" + node, "Agent of node " + node, fmt.Sprintf("agent %q { policy = \"write\" }\n", node)}
}

// EnsurePolicy makes the policy or changes it to be p. Needs acl:write, as
// do the other Ensure calls. Several may be at it: the controller that a node
// joins by and the Primary are.
func (c *Client) EnsurePolicy(ctx context.Context, p Policy) error {
	return c.call(ctx, "policy "+p.Name, func(a *api.Client) error {
		have, err := policy(a, p.Name)
		if err != nil {
			return err
		}
		want := &api.ACLPolicy{Name: p.Name, Description: p.Description, Rules: p.Rules}
		if have == nil {
			_, _, failed := a.ACL().PolicyCreate(want, nil)
			if failed == nil {
				return nil
			}
			if have, err = policy(a, p.Name); err != nil || have == nil {
				return failed
			} // somebody else has just made it
		}
		if have.Description == p.Description && have.Rules == p.Rules {
			return nil
		}
		want.ID = have.ID
		_, _, err = a.ACL().PolicyUpdate(want, nil)
		return err
	})
}

// policy returns the policy with a name, nil if there is none.
func policy(a *api.Client, name string) (*api.ACLPolicy, error) {
	have, _, err := a.ACL().PolicyReadByName(name, nil)
	if err != nil && isNotFound(err) {
		return nil, nil
	}
	return have, err
}

// Token is an ACL token whose ids the caller chose (UUIDs).
type Token struct {
	Accessor    string
	Secret      string
	Description string
	Policies    []string // names
	Node        string   // if set: the identity of this node
	Datacenter  string   // of Node; default dc1
}

// ErrTokenConflict means that a token with this accessor exists with another
// secret.
var ErrTokenConflict = errors.New("a token with this accessor id has another secret")

// EnsureToken makes the token or changes its rights to those given. It returns
// ErrTokenConflict, and changes nothing, when the secrets differ.
func (c *Client) EnsureToken(ctx context.Context, t Token) error {
	want := &api.ACLToken{AccessorID: t.Accessor, SecretID: t.Secret, Description: t.Description}
	for _, p := range t.Policies {
		want.Policies = append(want.Policies, &api.ACLTokenPolicyLink{Name: p})
	}
	if t.Node != "" {
		dc := t.Datacenter
		if dc == "" {
			dc = "dc1"
		}
		want.NodeIdentities = []*api.ACLNodeIdentity{{NodeName: t.Node, Datacenter: dc}}
	}
	return c.call(ctx, "token "+t.Accessor, func(a *api.Client) error {
		have, err := token(a, t.Accessor)
		if err != nil {
			return err
		}
		if have == nil {
			_, _, failed := a.ACL().TokenCreate(want, nil)
			if failed == nil {
				return nil
			}
			if have, err = token(a, t.Accessor); err != nil || have == nil {
				return failed
			} // somebody else has just made it
		}
		if have.SecretID != t.Secret {
			return ErrTokenConflict
		}
		if sameRights(have, want) {
			return nil
		}
		_, _, err = a.ACL().TokenUpdate(want, nil)
		return err
	})
}

// token returns the token with an accessor id, nil if there is none.
func token(a *api.Client, accessor string) (*api.ACLToken, error) {
	have, _, err := a.ACL().TokenRead(accessor, nil)
	if err != nil && isNotFound(err) {
		return nil, nil
	}
	return have, err
}

func sameRights(a, b *api.ACLToken) bool {
	return a.Description == b.Description &&
		slices.Equal(policyNames(a), policyNames(b)) &&
		slices.EqualFunc(a.NodeIdentities, b.NodeIdentities, func(x, y *api.ACLNodeIdentity) bool { return *x == *y })
}

func policyNames(t *api.ACLToken) []string {
	var out []string
	for _, p := range t.Policies {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

// EnsureNodeToken gives a node the token it registers itself and its services
// with; services are the names it may use. A client agent must not be started
// before its token exists: Consul remembers for 30 s that it does not.
func (c *Client) EnsureNodeToken(ctx context.Context, node, accessor, secret string, services []string) error {
	own := nodePolicy(node)
	for _, p := range []Policy{ServicesPolicy(services), own} {
		if err := c.EnsurePolicy(ctx, p); err != nil {
			return err
		}
	}
	return c.EnsureToken(ctx, Token{
		Accessor: accessor, Secret: secret, Description: "node " + node,
		Policies: []string{servicesPolicy, own.Name}, Node: node,
	})
}

// EnsureDNSToken makes the token for Config.DNSToken.
func (c *Client) EnsureDNSToken(ctx context.Context, accessor, secret string) error {
	if err := c.EnsurePolicy(ctx, DNSPolicy()); err != nil {
		return err
	}
	return c.EnsureToken(ctx, Token{Accessor: accessor, Secret: secret, Description: "DNS", Policies: []string{dnsPolicy}})
}

// RemoveNodeToken deletes a node's token and its policy. Absence is no error.
func (c *Client) RemoveNodeToken(ctx context.Context, node, accessor string) error {
	return c.call(ctx, "delete token "+accessor, func(a *api.Client) error {
		if _, err := a.ACL().TokenDelete(accessor, nil); err != nil && !isNotFound(err) {
			return err
		}
		p, err := policy(a, nodePolicy(node).Name)
		if p == nil || err != nil {
			return err
		}
		_, err = a.ACL().PolicyDelete(p.ID, nil)
		return err
	})
}

// SetAgentToken gives the running agent its own token. The configuration must
// have it too, for the next start. Needs agent:write.
func (c *Client) SetAgentToken(ctx context.Context, secret string) error {
	return c.call(ctx, "set the agent token", func(a *api.Client) error {
		_, err := a.Agent().UpdateAgentACLToken(secret, nil)
		return err
	})
}

// SetDNSToken gives the running agent the token DNS answers with.
func (c *Client) SetDNSToken(ctx context.Context, secret string) error {
	return c.call(ctx, "set the DNS token", func(a *api.Client) error {
		_, err := a.Agent().UpdateDNSToken(secret, nil)
		return err
	})
}

func isNotFound(err error) bool {
	var se api.StatusError
	if !errors.As(err, &se) {
		return false
	}
	return se.Code == http.StatusNotFound || (se.Code == http.StatusForbidden && strings.Contains(se.Body, "ACL not found"))
}
