package state

import (
	"context"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

// quotas holds the quotas of organizations (OrgGUID is "") and of spaces.
var quotas = newTable[cf.Quota]("cf_quotas", byGUID(), by("org", "OrgGUID"),
	uniqueKey("name", func(q *cf.Quota) string { return q.OrgGUID + "/" + q.Name }))

// Quota returns one quota, of organizations or of spaces.
func (v *View) Quota(guid string) (cf.Quota, bool) { return quotas.get(v, "id", guid) }

// Quotas returns all quotas, in no useful order.
func (v *View) Quotas() []cf.Quota { return quotas.list(v, "id") }

// QuotaByName finds a quota; org is "" for organization quotas.
func (v *View) QuotaByName(org, name string) (cf.Quota, bool) {
	return quotas.get(v, "name", org+"/"+name)
}

// OrganizationsWithQuota returns the organizations that name a quota; those
// that name none have the default one.
func (v *View) OrganizationsWithQuota(guid string) []cf.Organization {
	return organizations.list(v, "quota", guid)
}

// SpacesWithQuota returns the spaces that have a space quota.
func (v *View) SpacesWithQuota(guid string) []cf.Space { return spaces.list(v, "quota", guid) }

func quotaKind(q cf.Quota) string {
	if q.OrgGUID == "" {
		return "Organization Quota"
	}
	return "Space Quota"
}

func quotaMissing(space bool) error {
	if space {
		return cf.ErrNotFound.With("Space quota not found")
	}
	return cf.ErrNotFound.With("Organization quota not found")
}

var createQuota = newAudited("cf.quota.create", 1, func(tx *Tx, in cf.Quota) (none, error) {
	if quotas.has(tx, "name", in.OrgGUID+"/"+in.Name) {
		return none{}, cf.ErrUnprocessable.With("%s '%s' already exists.", quotaKind(in), in.Name)
	}
	if in.OrgGUID != "" && !organizations.has(tx, "id", in.OrgGUID) {
		return none{}, cf.ErrUnprocessable.With("Organization with guid '%s' does not exist, or you do not have access to it.", in.OrgGUID)
	}
	quotas.put(tx, in)
	return none{}, nil
})

// CreateQuota adds a quota.
func (s *Store) CreateQuota(ctx context.Context, q cf.Quota) error {
	_, err := createQuota.do(ctx, s, q)
	return err
}

// CreateQuota is like Store.CreateQuota.
func (b *Batch) CreateQuota(q cf.Quota) { createQuota.queue(b, q) }

// QuotaUpdate changes what is not nil.
type QuotaUpdate struct {
	GUID   string     `json:"guid"`
	Name   *string    `json:"name,omitempty"`
	Limits *cf.Limits `json:"limits,omitempty"` // all of them
	At     time.Time  `json:"at"`
}

var updateQuota = newAudited("cf.quota.update", 1, func(tx *Tx, in QuotaUpdate) (cf.Quota, error) {
	q, ok := quotas.get(tx, "id", in.GUID)
	if !ok {
		return q, quotaMissing(false)
	}
	if in.Name != nil && *in.Name != q.Name {
		if quotas.has(tx, "name", q.OrgGUID+"/"+*in.Name) {
			return q, cf.ErrUnprocessable.With("%s '%s' already exists.", quotaKind(q), *in.Name)
		}
		q.Name = *in.Name
	}
	set(&q.Limits, in.Limits)
	q.UpdatedAt = in.At
	quotas.put(tx, q)
	return q, nil
})

// UpdateQuota changes a quota and returns it. What runs already goes on.
func (s *Store) UpdateQuota(ctx context.Context, u QuotaUpdate) (cf.Quota, error) {
	return updateQuota.do(ctx, s, u)
}

var deleteQuota = newAudited("cf.quota.delete", 1, func(tx *Tx, in Target) (none, error) {
	q, ok := quotas.get(tx, "id", in.GUID)
	if !ok {
		return none{}, quotaMissing(false)
	}
	if q.OrgGUID == "" && (q.Name == cf.DefaultQuota || organizations.has(tx, "quota", q.GUID)) {
		return none{}, cf.ErrUnprocessable.With("This quota is applied to one or more organizations. Apply different quotas to those organizations before deleting.")
	}
	for _, s := range spaces.list(tx, "quota", q.GUID) {
		s.QuotaGUID = ""
		spaces.put(tx, s)
	}
	quotas.remove(tx, "id", q.GUID)
	return none{}, nil
})

// DeleteQuota removes a quota: one of organizations only when none has it.
func (s *Store) DeleteQuota(ctx context.Context, t Target) error {
	_, err := deleteQuota.do(ctx, s, t)
	return err
}

// QuotaAssignment gives organizations or spaces a quota, or takes it away.
type QuotaAssignment struct {
	GUID   string   `json:"guid"`
	Orgs   []string `json:"orgs,omitempty"`
	Spaces []string `json:"spaces,omitempty"`
	// Remove takes the quota away from the spaces.
	Remove bool      `json:"remove,omitempty"`
	At     time.Time `json:"at"`
}

var assignQuota = newAudited("cf.quota.assign", 1, func(tx *Tx, in QuotaAssignment) (none, error) {
	q, ok := quotas.get(tx, "id", in.GUID)
	if !ok {
		return none{}, quotaMissing(len(in.Spaces) > 0)
	}
	for _, guid := range in.Orgs {
		o, ok := organizations.get(tx, "id", guid)
		if !ok || q.OrgGUID != "" {
			return none{}, cf.ErrUnprocessable.With("Organizations with guids [\"%s\"] do not exist", guid)
		}
		o.QuotaGUID, o.UpdatedAt = q.GUID, in.At
		organizations.put(tx, o)
	}
	for _, guid := range in.Spaces {
		s, ok := spaces.get(tx, "id", guid)
		switch {
		case !ok || s.OrgGUID != q.OrgGUID:
			return none{}, cf.ErrUnprocessable.With("Spaces with guids [\"%s\"] do not exist within the organization specified, or you do not have access to them.", guid)
		case in.Remove && s.QuotaGUID != q.GUID:
			return none{}, cf.ErrUnprocessable.With("Unable to remove quota from space with guid '%s'. Ensure the space quota is applied to this space.", guid)
		case in.Remove:
			s.QuotaGUID = ""
		default:
			s.QuotaGUID = q.GUID
		}
		s.UpdatedAt = in.At
		spaces.put(tx, s)
	}
	return none{}, nil
})

// AssignQuota gives organizations or spaces a quota, or takes it away.
func (s *Store) AssignQuota(ctx context.Context, a QuotaAssignment) error {
	_, err := assignQuota.do(ctx, s, a)
	return err
}

// AssignQuota is like Store.AssignQuota.
func (b *Batch) AssignQuota(a QuotaAssignment) { assignQuota.queue(b, a) }
