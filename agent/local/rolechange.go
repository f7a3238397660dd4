package local

import "github.com/stackato/stackato/agent/node"

// Apply returns the role set that r asks for on a node that has current. It
// resolves groups and checks the rules that concern one node alone; an error
// carries a code and nothing is changed.
//
// --all and --all-but mean every role that can go together: load_balancer is
// never among them, because it excludes all others. Adding controller adds
// router with it; removing never removes what was not named.
func (r RoleChange) Apply(current node.RoleSet, groups node.Groups) (node.RoleSet, error) {
	named, err := r.named(groups)
	if err != nil {
		return current, err
	}
	var want node.RoleSet
	switch r.Op {
	case RoleAdd:
		want = current.With(named).With(node.NewRoleSet(node.Base))
		if len(r.AllBut) == 0 { // --all-but router is refused, not corrected
			want = want.Normalize()
		}
	case RoleSet:
		want = named.Normalize()
	case RoleRemove:
		want = current.Without(named)
	default:
		return current, Errorf(CodeInvalid, "use add, remove or set", "unknown role operation %.40q", r.Op)
	}
	if err := node.CheckRoles(want); err != nil {
		return current, err
	}
	return want, nil
}

// named resolves which roles the change speaks of.
func (r RoleChange) named(groups node.Groups) (node.RoleSet, error) {
	forms := 0
	for _, given := range []bool{len(r.Names) > 0, r.All, len(r.AllBut) > 0} {
		if given {
			forms++
		}
	}
	if forms != 1 || r.Op == RoleSet && len(r.Names) == 0 {
		return 0, Errorf(CodeInvalid, "see kato role "+string(r.Op)+" --help",
			"give either role names, --all, or --all-but with names")
	}
	resolve := func(names []string) (node.RoleSet, error) {
		s, err := groups.Resolve(names...)
		if err != nil {
			return 0, Errorf(CodeNotFound, "kato role list shows roles, kato role groups shows groups", "%v", err)
		}
		return s, nil
	}
	if len(r.Names) > 0 {
		return resolve(r.Names)
	}
	every := node.AllRoles().Without(node.NewRoleSet(node.LoadBalancer))
	if r.Op == RoleRemove {
		every = node.AllRoles().Without(node.NewRoleSet(node.Base))
	}
	if r.All {
		return every, nil
	}
	except, err := resolve(r.AllBut)
	if err != nil {
		return 0, err
	}
	if r.Op == RoleRemove {
		except = except.Normalize() // keeping controller keeps its router
	}
	return every.Without(except), nil
}
