package state

import (
	"context"

	"github.com/stackato/stackato/controller/cf"
)

// purgeBatch is how many apps one command of a deletion removes: commands stay
// short however much an organization holds.
const purgeBatch = 20

// purged says whether a deletion has come to its end.
type purged struct {
	Done bool `json:"done"`
}

var purgeSpace = newAudited("cf.space.purge", 1, func(tx *Tx, in Target) (purged, error) {
	return purged{purgeSpaceStep(tx, in.GUID)}, nil
})

// PurgeSpace removes a part of what is in a space, at last the space itself;
// call it until it returns true. A space that does not exist is purged.
func (s *Store) PurgeSpace(ctx context.Context, t Target) (bool, error) {
	out, err := purgeSpace.do(ctx, s, t)
	return out.Done, err
}

func purgeSpaceStep(tx *Tx, guid string) (done bool) {
	if !spaces.has(tx, "id", guid) {
		return true
	}
	all := apps.list(tx, "space", guid)
	for _, a := range all[:min(len(all), purgeBatch)] {
		removeApp(tx, a.GUID)
	}
	if len(all) > purgeBatch {
		return false
	}
	if left := removeSpaceRoutes(tx, guid, false); left {
		return false
	}
	removeSpaceContents(tx, guid)
	roles.remove(tx, "space", guid)
	spaces.remove(tx, "id", guid)
	return true
}

var purgeOrganization = newAudited("cf.organization.purge", 1, func(tx *Tx, in Target) (purged, error) {
	if s, found := spaces.get(tx, "org", in.GUID); found {
		purgeSpaceStep(tx, s.GUID)
		return purged{}, nil
	}
	for _, d := range domains.list(tx, "id") {
		switch {
		case d.OrgGUID == in.GUID:
			removeDomain(tx, d.GUID)
		case d.OrgGUID != "" && d.UsableBy(in.GUID):
			d.SharedOrgs = without(d.SharedOrgs, in.GUID)
			domains.put(tx, d)
		}
	}
	quotas.remove(tx, "org", in.GUID)
	roles.remove(tx, "org", in.GUID)
	organizations.remove(tx, "id", in.GUID)
	return purged{true}, nil
})

// PurgeOrganization removes a part of what is in an organization, at last
// the organization itself; call it until it returns true. One that does not
// exist is purged.
func (s *Store) PurgeOrganization(ctx context.Context, t Target) (bool, error) {
	out, err := purgeOrganization.do(ctx, s, t)
	return out.Done, err
}

// without returns a copy of list without v.
func without(list []string, v string) []string {
	var out []string
	for _, e := range list {
		if e != v {
			out = append(out, e)
		}
	}
	return out
}

// with returns a copy of list with v in it once.
func with(list []string, v string) []string { return append(without(list, v), v) }

// checkDeletable refuses to begin the deletion of what other organizations
// still use.
func checkDeletable(tx *Tx, org string) error {
	for d := range domains.each(tx, "id") {
		if d.OrgGUID == org && len(d.SharedOrgs) > 0 {
			return cf.ErrUnprocessable.With("Domain '%s' is shared with other organizations. Unshare before deleting.", d.Name)
		}
	}
	return nil
}

// deletion is the input of cf.deletion.begin.
type deletion struct {
	Job cf.Job `json:"job"`
	Org string `json:"org,omitempty"`
}

var beginDeletion = newAudited("cf.deletion.begin", 1, func(tx *Tx, in deletion) (none, error) {
	if in.Org != "" {
		if err := checkDeletable(tx, in.Org); err != nil {
			return none{}, err
		}
	}
	jobs.add(tx, in.Job)
	return none{}, nil
})

// BeginDeletion adds the job that deletes an organization (org is its GUID) or
// a space ("").
func (s *Store) BeginDeletion(ctx context.Context, job cf.Job, org string) error {
	_, err := beginDeletion.do(ctx, s, deletion{job, org})
	return err
}
