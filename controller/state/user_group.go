package state

import (
	"context"
	"slices"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

// UsersInGroup returns the users that have a scope of their own.
func (v *View) UsersInGroup(group string) []cf.User {
	var out []cf.User
	for u := range users.each(v, "id") {
		if slices.Contains(u.Groups, group) {
			out = append(out, u)
		}
	}
	return out
}

// Membership puts users into a group and takes others out of it.
type Membership struct {
	Group  string    `json:"group"`
	Add    []string  `json:"add,omitempty"`    // GUIDs of users
	Remove []string  `json:"remove,omitempty"` // GUIDs of users
	At     time.Time `json:"at"`
}

var changeMembership = newCommand("uaa.group.members", 1, func(tx *Tx, in Membership) (none, error) {
	for _, guid := range in.Add {
		u, ok := users.get(tx, "id", guid)
		if !ok {
			return none{}, cf.ErrNotFound.With("User %s does not exist", guid)
		}
		if !slices.Contains(u.Groups, in.Group) {
			putGroups(tx, u, append(slices.Clone(u.Groups), in.Group), in.At)
		}
	}
	for _, guid := range in.Remove {
		if u, ok := users.get(tx, "id", guid); ok && slices.Contains(u.Groups, in.Group) {
			putGroups(tx, u, slices.DeleteFunc(slices.Clone(u.Groups), func(g string) bool { return g == in.Group }), in.At)
		}
	}
	return none{}, nil
})

func putGroups(tx *Tx, u cf.User, groups []string, at time.Time) {
	u.Groups, u.UpdatedAt = groups, at
	u.Version++
	users.put(tx, u)
}

// ChangeMembership changes who is in a group.
func (s *Store) ChangeMembership(ctx context.Context, m Membership) error {
	_, err := changeMembership.do(ctx, s, m)
	return err
}
