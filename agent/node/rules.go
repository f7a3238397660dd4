package node

import "fmt"

// RuleError says that a set of roles is not allowed on a node, and what to do.
type RuleError struct {
	Reason string // what is wrong
	Hint   string // what the operator can do instead
}

// Error returns reason and hint.
func (e *RuleError) Error() string { return e.Reason + ": " + e.Hint }

// CheckRoles checks the rules that concern one node alone (architecture §2).
// Rules across nodes, like "the last controller cannot be removed", are
// checked where the other nodes are known, inside the state machine.
func CheckRoles(s RoleSet) error {
	switch {
	case !s.Has(Base):
		return &RuleError{
			"the base role cannot be removed",
			"every node has it; to take the node out of the cluster use: kato node remove",
		}
	case s.Has(LoadBalancer) && s.Without(NewRoleSet(Base, LoadBalancer)) != 0:
		return &RuleError{
			fmt.Sprintf("load_balancer excludes every other role (the node would also have %s)",
				s.Without(NewRoleSet(Base, LoadBalancer))),
			"give load_balancer to a node of its own",
		}
	case s.Has(Controller) && !s.Has(Router):
		return &RuleError{
			"a controller node always runs a router",
			"add the router role, or remove controller first",
		}
	}
	return nil
}

// Normalize adds the roles that a set implies: base always, router with
// controller.
func (s RoleSet) Normalize() RoleSet {
	s = s.With(NewRoleSet(Base))
	if s.Has(Controller) {
		s = s.With(NewRoleSet(Router))
	}
	return s
}
