package state

import (
	"context"
	"strings"
	"time"

	"github.com/stackato/stackato/controller/cf"
)

var domains = newTable[cf.Domain]("cf_domains", byGUID(), uniqueName("Name"), by("org", "OrgGUID"))

// Domain returns one domain.
func (v *View) Domain(guid string) (cf.Domain, bool) { return domains.get(v, "id", guid) }

// DomainByName finds a domain without regard to case.
func (v *View) DomainByName(name string) (cf.Domain, bool) { return domains.get(v, "name", name) }

// Domains returns all domains, in no useful order.
func (v *View) Domains() []cf.Domain { return domains.list(v, "id") }

// DomainsOfOrganization returns the private domains that an organization
// owns.
func (v *View) DomainsOfOrganization(guid string) []cf.Domain { return domains.list(v, "org", guid) }

func getDomain(r reader, guid string) (cf.Domain, error) {
	d, ok := domains.get(r, "id", guid)
	if !ok {
		return d, cf.ErrNotFound.With("Domain not found")
	}
	return d, nil
}

var createDomain = newAudited("cf.domain.create", 1, func(tx *Tx, in cf.Domain) (none, error) {
	if in.OrgGUID != "" {
		o, ok := organizations.get(tx, "id", in.OrgGUID)
		if !ok {
			return none{}, cf.ErrUnprocessable.With("Organization with guid '%s' does not exist or you do not have access to it.", in.OrgGUID)
		}
		if q := orgLimits(tx, o); q.Domains != nil && count(domains.each(tx, "org", o.GUID)) >= *q.Domains {
			return none{}, cf.ErrUnprocessable.With("The number of private domains exceeds the quota for organization \"%s\"", o.Name)
		}
	}
	if domains.has(tx, "name", in.Name) {
		return none{}, cf.ErrUnprocessable.With("The domain name \"%s\" is already in use", in.Name)
	}
	if other, clash := overlapping(tx, in); clash {
		return none{}, cf.ErrUnprocessable.With("The domain name \"%s\" cannot be created because \"%s\" is already reserved by another domain", in.Name, other)
	}
	if host, parent, found := strings.Cut(in.Name, "."); found {
		if p, ok := domains.get(tx, "name", parent); ok {
			if routes.has(tx, "host", hostKey(p.GUID, host)) {
				return none{}, cf.ErrUnprocessable.With("The domain name \"%s\" cannot be created because \"%s\" is already reserved by a route", in.Name, in.Name)
			}
		}
	}
	domains.put(tx, in)
	return none{}, nil
})

// overlapping finds a private domain of another owner that is above or below
// the new one: one organization must not take names of another one's domain.
func overlapping(tx *Tx, in cf.Domain) (string, bool) {
	for d := range domains.each(tx, "id") {
		if d.OrgGUID == in.OrgGUID {
			continue
		}
		above := d.OrgGUID != "" && strings.HasSuffix(in.Name, "."+d.Name)
		below := strings.HasSuffix(d.Name, "."+in.Name)
		if above || below && in.OrgGUID != "" {
			return d.Name, true
		}
	}
	return "", false
}

// CreateDomain adds a shared or a private domain; its name is in lower case.
func (s *Store) CreateDomain(ctx context.Context, d cf.Domain) error {
	_, err := createDomain.do(ctx, s, d)
	return err
}

// DomainUpdate changes a domain: its metadata, or whom it is shared with.
type DomainUpdate struct {
	GUID     string           `json:"guid"`
	Metadata cf.MetadataPatch `json:"metadata,omitzero"`
	Share    []string         `json:"share,omitempty"` // with these organizations
	Unshare  string           `json:"unshare,omitempty"`
	At       time.Time        `json:"at"`
}

var updateDomain = newAudited("cf.domain.update", 1, func(tx *Tx, in DomainUpdate) (cf.Domain, error) {
	d, err := getDomain(tx, in.GUID)
	if err != nil {
		return d, err
	}
	if (len(in.Share) > 0 || in.Unshare != "") && d.OrgGUID == "" {
		return d, cf.ErrUnprocessable.With("Domains can not be shared with other organizations unless they are scoped to an organization.")
	}
	for _, o := range in.Share {
		if !organizations.has(tx, "id", o) {
			return d, cf.ErrUnprocessable.With("Organization with guid '%s' does not exist or you do not have access to it.", o)
		}
		if o != d.OrgGUID {
			d.SharedOrgs = with(d.SharedOrgs, o)
		}
	}
	if in.Unshare != "" {
		d.SharedOrgs = without(d.SharedOrgs, in.Unshare)
		for _, r := range routes.list(tx, "domain", d.GUID) {
			if s, ok := spaces.get(tx, "id", r.SpaceGUID); ok && s.OrgGUID == in.Unshare {
				return d, cf.ErrUnprocessable.With("This domain has associated routes in organization '%s'. Delete the routes before unsharing.", in.Unshare)
			}
		}
	}
	d.Metadata = d.Patched(in.Metadata)
	d.UpdatedAt = in.At
	domains.put(tx, d)
	return d, nil
})

// UpdateDomain changes a domain and returns it.
func (s *Store) UpdateDomain(ctx context.Context, u DomainUpdate) (cf.Domain, error) {
	return updateDomain.do(ctx, s, u)
}

var deleteDomain = newAudited("cf.domain.delete", 1, func(tx *Tx, in Target) (none, error) {
	d, err := getDomain(tx, in.GUID)
	if err != nil {
		return none{}, err
	}
	if len(d.SharedOrgs) > 0 {
		return none{}, cf.ErrUnprocessable.With("This domain is shared with other organizations. Unshare before deleting.")
	}
	removeDomain(tx, in.GUID)
	return none{}, nil
})

// DeleteDomain removes a domain with its routes.
func (s *Store) DeleteDomain(ctx context.Context, t Target) error {
	_, err := deleteDomain.do(ctx, s, t)
	return err
}

func removeDomain(tx *Tx, guid string) {
	for _, r := range routes.list(tx, "domain", guid) {
		removeRoute(tx, r.GUID)
	}
	domains.remove(tx, "id", guid)
}
