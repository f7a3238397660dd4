package state

import (
	"context"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var organizations = newTable[cf.Organization]("cf_organizations",
	byGUID(), uniqueName("Name"), by("quota", "QuotaGUID"))

// Organization returns one organization.
func (v *View) Organization(guid string) (cf.Organization, bool) {
	return organizations.get(v, "id", guid)
}

// OrganizationByName finds an organization without regard to case.
func (v *View) OrganizationByName(name string) (cf.Organization, bool) {
	return organizations.get(v, "name", name)
}

// Organizations returns all organizations, in no useful order.
func (v *View) Organizations() []cf.Organization { return organizations.list(v, "id") }

func getOrganization(r reader, guid string) (cf.Organization, error) {
	o, ok := organizations.get(r, "id", guid)
	if !ok {
		return o, cf.ErrNotFound.With("Organization not found")
	}
	return o, nil
}

var createOrganization = newAudited("cf.organization.create", 1, func(tx *Tx, in cf.Organization) (none, error) {
	if organizations.has(tx, "name", in.Name) {
		return none{}, cf.ErrUnprocessable.With("Organization '%s' already exists.", in.Name)
	}
	organizations.put(tx, in)
	return none{}, nil
})

// CreateOrganization adds an organization; its GUID and times are the
// caller's.
func (s *Store) CreateOrganization(ctx context.Context, o cf.Organization) error {
	_, err := createOrganization.do(ctx, s, o)
	return err
}

// OrganizationUpdate changes what is not nil.
type OrganizationUpdate struct {
	GUID      string           `json:"guid"`
	Name      *string          `json:"name,omitempty"`
	Suspended *bool            `json:"suspended,omitempty"`
	Metadata  cf.MetadataPatch `json:"metadata,omitzero"`
	At        time.Time        `json:"at"`
}

var updateOrganization = newAudited("cf.organization.update", 1, func(tx *Tx, in OrganizationUpdate) (cf.Organization, error) {
	o, err := getOrganization(tx, in.GUID)
	if err != nil {
		return o, err
	}
	if in.Name != nil && *in.Name != o.Name {
		if other, taken := organizations.get(tx, "name", *in.Name); taken && other.GUID != o.GUID {
			return o, cf.ErrUnprocessable.With("Organization name '%s' is already taken.", *in.Name)
		}
		o.Name = *in.Name
	}
	set(&o.Suspended, in.Suspended)
	o.Metadata = o.Patched(in.Metadata)
	o.UpdatedAt = in.At
	organizations.put(tx, o)
	return o, nil
})

// UpdateOrganization changes an organization and returns it.
func (s *Store) UpdateOrganization(ctx context.Context, u OrganizationUpdate) (cf.Organization, error) {
	return updateOrganization.do(ctx, s, u)
}
