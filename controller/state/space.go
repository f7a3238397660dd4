package state

import (
	"context"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var spaces = newTable[cf.Space]("cf_spaces", byGUID(), uniqueName("OrgGUID", "Name"),
	by("org", "OrgGUID"), by("quota", "QuotaGUID"))

// Space returns one space.
func (v *View) Space(guid string) (cf.Space, bool) { return spaces.get(v, "id", guid) }

// SpaceByName finds a space in its organization, without regard to case.
func (v *View) SpaceByName(orgGUID, name string) (cf.Space, bool) {
	return spaces.get(v, "name", orgGUID, name)
}

// Spaces returns all spaces, in no useful order.
func (v *View) Spaces() []cf.Space { return spaces.list(v, "id") }

// SpacesOfOrganization returns the spaces of an organization.
func (v *View) SpacesOfOrganization(guid string) []cf.Space { return spaces.list(v, "org", guid) }

func getSpace(r reader, guid string) (cf.Space, error) {
	s, ok := spaces.get(r, "id", guid)
	if !ok {
		return s, cf.ErrNotFound.With("Space not found")
	}
	return s, nil
}

var createSpace = newAudited("cf.space.create", 1, func(tx *Tx, in cf.Space) (none, error) {
	if !organizations.has(tx, "id", in.OrgGUID) {
		return none{}, cf.ErrUnprocessable.With("Invalid organization. Ensure the organization exists and you have access to it.")
	}
	if spaces.has(tx, "name", in.OrgGUID, in.Name) {
		return none{}, cf.ErrUnprocessable.With("Name must be unique per organization")
	}
	spaces.put(tx, in)
	return none{}, nil
})

// CreateSpace adds a space to its organization.
func (s *Store) CreateSpace(ctx context.Context, space cf.Space) error {
	_, err := createSpace.do(ctx, s, space)
	return err
}

// SpaceUpdate changes what is not nil.
type SpaceUpdate struct {
	GUID     string           `json:"guid"`
	Name     *string          `json:"name,omitempty"`
	SSHOff   *bool            `json:"ssh_off,omitempty"`
	Metadata cf.MetadataPatch `json:"metadata,omitzero"`
	At       time.Time        `json:"at"`
}

var updateSpace = newAudited("cf.space.update", 1, func(tx *Tx, in SpaceUpdate) (cf.Space, error) {
	s, err := getSpace(tx, in.GUID)
	if err != nil {
		return s, err
	}
	if in.Name != nil && *in.Name != s.Name {
		if other, taken := spaces.get(tx, "name", s.OrgGUID, *in.Name); taken && other.GUID != s.GUID {
			return s, cf.ErrUnprocessable.With("Name must be unique per organization")
		}
		s.Name = *in.Name
	}
	set(&s.SSHOff, in.SSHOff)
	s.Metadata = s.Patched(in.Metadata)
	s.UpdatedAt = in.At
	spaces.put(tx, s)
	return s, nil
})

// UpdateSpace changes a space and returns it.
func (s *Store) UpdateSpace(ctx context.Context, u SpaceUpdate) (cf.Space, error) {
	return updateSpace.do(ctx, s, u)
}
