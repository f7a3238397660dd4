package state

import (
	"context"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/stackato/stackato/controller/cf"
)

var users = newTable[cf.User]("uaa_users", byGUID(), uniqueName("UserName", "Origin"),
	&memdb.IndexSchema{Name: "user_name", AllowMissing: true, Indexer: over(true, []string{"UserName"})})

// User returns one user of the log-in service.
func (v *View) User(guid string) (cf.User, bool) { return users.get(v, "id", guid) }

// UserByName finds a user without regard to case.
func (v *View) UserByName(name, origin string) (cf.User, bool) {
	return users.get(v, "name", name, origin)
}

// UsersNamed returns the users of a name in all origins.
func (v *View) UsersNamed(name string) []cf.User { return users.list(v, "user_name", name) }

// Users returns all users, in no useful order.
func (v *View) Users() []cf.User { return users.list(v, "id") }

var createUser = newCommand("uaa.user.create", 1, func(tx *Tx, in cf.User) (none, error) {
	if users.has(tx, "name", in.UserName, in.Origin) {
		return none{}, cf.ErrUniqueness.With("Username already in use: %s", in.UserName)
	}
	users.put(tx, in)
	return none{}, nil
})

// CreateUser adds a user, or fails with cf.ErrUniqueness.
func (s *Store) CreateUser(ctx context.Context, u cf.User) error {
	_, err := createUser.do(ctx, s, u)
	return err
}

// PasswordChange gives a user another password, and ends the user's sessions.
type PasswordChange struct {
	GUID     string    `json:"guid"`
	Password string    `json:"password"` // a hash
	Adopted  string    `json:"adopted,omitempty"`
	At       time.Time `json:"at"`
}

var changePassword = newCommand("uaa.user.password", 1, func(tx *Tx, in PasswordChange) (none, error) {
	u, ok := users.get(tx, "id", in.GUID)
	if !ok {
		return none{}, cf.ErrNotFound.With("User %s does not exist", in.GUID)
	}
	u.Password, u.Adopted = in.Password, in.Adopted
	u.PasswordAt, u.UpdatedAt = in.At, in.At
	u.Version++
	users.put(tx, u)
	refreshTokens.remove(tx, "user", in.GUID)
	return none{}, nil
})

// ChangePassword sets a password's hash.
func (s *Store) ChangePassword(ctx context.Context, c PasswordChange) error {
	_, err := changePassword.do(ctx, s, c)
	return err
}

var deleteUser = newCommand("uaa.user.delete", 1, func(tx *Tx, in string) (cf.User, error) {
	u, ok := users.get(tx, "id", in)
	if !ok {
		return u, cf.ErrNotFound.With("User %s does not exist", in)
	}
	users.remove(tx, "id", in)
	refreshTokens.remove(tx, "user", in)
	return u, nil
})

// DeleteUser removes a user and their sessions, and returns what it was.
func (s *Store) DeleteUser(ctx context.Context, guid string) (cf.User, error) {
	return deleteUser.do(ctx, s, guid)
}
