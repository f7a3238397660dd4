package state

import (
	"context"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var cloudUsers = newTable[cf.CloudUser]("cf_users", byGUID())

// CloudUser returns one user that the Cloud Controller knows.
func (v *View) CloudUser(guid string) (cf.CloudUser, bool) { return cloudUsers.get(v, "id", guid) }

// CloudUsers returns all users that the Cloud Controller knows.
func (v *View) CloudUsers() []cf.CloudUser { return cloudUsers.list(v, "id") }

var createCloudUser = newAudited("cf.user.create", 1, func(tx *Tx, in cf.CloudUser) (none, error) {
	if cloudUsers.has(tx, "id", in.GUID) {
		return none{}, cf.ErrUnprocessable.With("User with guid '%s' already exists.", in.GUID)
	}
	cloudUsers.put(tx, in)
	return none{}, nil
})

// CreateCloudUser makes a user known.
func (s *Store) CreateCloudUser(ctx context.Context, u cf.CloudUser) error {
	_, err := createCloudUser.do(ctx, s, u)
	return err
}

// CloudUserUpdate changes a user's metadata.
type CloudUserUpdate struct {
	GUID     string           `json:"guid"`
	Metadata cf.MetadataPatch `json:"metadata"`
	At       time.Time        `json:"at"`
}

var updateCloudUser = newCommand("cf.user.update", 1, func(tx *Tx, in CloudUserUpdate) (cf.CloudUser, error) {
	u, ok := cloudUsers.get(tx, "id", in.GUID)
	if !ok {
		return u, cf.ErrNotFound.With("User not found")
	}
	u.Metadata, u.UpdatedAt = u.Patched(in.Metadata), in.At
	cloudUsers.put(tx, u)
	return u, nil
})

// UpdateCloudUser changes a user's metadata and returns the user.
func (s *Store) UpdateCloudUser(ctx context.Context, u CloudUserUpdate) (cf.CloudUser, error) {
	return updateCloudUser.do(ctx, s, u)
}

var deleteCloudUser = newAudited("cf.user.delete", 1, func(tx *Tx, in Target) (none, error) {
	if cloudUsers.remove(tx, "id", in.GUID) == 0 {
		return none{}, cf.ErrNotFound.With("User not found")
	}
	roles.remove(tx, "user", in.GUID)
	return none{}, nil
})

// DeleteCloudUser forgets a user, with all roles.
func (s *Store) DeleteCloudUser(ctx context.Context, t Target) error {
	_, err := deleteCloudUser.do(ctx, s, t)
	return err
}
