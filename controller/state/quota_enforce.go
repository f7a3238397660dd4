package state

import (
	"fmt"

	"github.com/stackato/stackato/controller/cf"
)

// Usage is what an organization or a space uses of its quota: processes of
// started apps and tasks that have not ended.
type Usage struct {
	MemoryMB  int
	Instances int
}

func (u *Usage) add(o Usage) { u.MemoryMB += o.MemoryMB; u.Instances += o.Instances }

// UsageOfSpace returns what a space uses.
func (v *View) UsageOfSpace(guid string) Usage { return usageOfSpace(v, guid) }

// UsageOfOrganization returns what the spaces of an organization use.
func (v *View) UsageOfOrganization(guid string) Usage { return usageOfOrganization(v, guid) }

func usageOfSpace(r reader, guid string) Usage {
	var u Usage
	for a := range apps.each(r, "space", guid) {
		for t := range tasks.each(r, "app", a.GUID) {
			if !t.Ended() {
				u.MemoryMB += t.MemoryMB
			}
		}
		if a.State == cf.AppStarted {
			u.add(usageOfApp(r, a.GUID))
		}
	}
	return u
}

// usageOfApp is what an app's processes use when it is started.
func usageOfApp(r reader, guid string) Usage {
	var u Usage
	for p := range processes.each(r, "app", guid) {
		u.MemoryMB += p.Instances * p.MemoryMB
		u.Instances += p.Instances
	}
	return u
}

func usageOfOrganization(r reader, guid string) Usage {
	var u Usage
	for s := range spaces.each(r, "org", guid) {
		u.add(usageOfSpace(r, s.GUID))
	}
	return u
}

// orgLimits are those of the organization's quota, or of the default one.
func orgLimits(r reader, o cf.Organization) cf.Limits {
	q, ok := quotas.get(r, "id", o.QuotaGUID)
	if o.QuotaGUID == "" || !ok {
		q, _ = quotas.get(r, "name", "/"+cf.DefaultQuota)
	}
	return q.Limits
}

// spaceLimits is unlimited for a space without a quota.
func spaceLimits(r reader, s cf.Space) (cf.Limits, bool) {
	if s.QuotaGUID == "" {
		return cf.Limits{}, false
	}
	q, ok := quotas.get(r, "id", s.QuotaGUID)
	return q.Limits, ok
}

// checkAppQuota refuses an addition of memory (MiB) and instances to what runs
// in a space that would exceed the quota of the space or its organization;
// perInstanceMB, if not 0, is the memory of one instance or task. Call it
// before the rows are changed. What makes things smaller is never refused.
func checkAppQuota(tx *Tx, spaceGUID string, deltaMemoryMB, deltaInstances, perInstanceMB int) error {
	s, err := getSpace(tx, spaceGUID)
	if err != nil {
		return err
	}
	o, err := getOrganization(tx, s.OrgGUID)
	if err != nil {
		return err
	}
	delta := Usage{deltaMemoryMB, deltaInstances}
	if l, ok := spaceLimits(tx, s); ok {
		if err := checkLimits(l, "space '"+s.Name+"'", "space_", perInstanceMB, delta, func() Usage { return usageOfSpace(tx, s.GUID) }); err != nil {
			return err
		}
	}
	return checkLimits(orgLimits(tx, o), "organization '"+o.Name+"'", "", perInstanceMB, delta, func() Usage { return usageOfOrganization(tx, o.GUID) })
}

// checkLimits names the limit as Cloud Foundry does, and what is left of it.
// The usage is only counted if a limit asks for it.
func checkLimits(l cf.Limits, where, prefix string, perInstanceMB int, delta Usage, usage func() Usage) error {
	refuse := func(format string, args ...any) error {
		return cf.ErrUnprocessable.With("%s", fmt.Sprintf(format, args...))
	}
	if l.InstanceMemoryMB != nil && perInstanceMB > *l.InstanceMemoryMB {
		return refuse("memory %sinstance_memory_limit_exceeded: an instance in %s may have %dM, asked for are %dM", prefix, where, *l.InstanceMemoryMB, perInstanceMB)
	}
	needMemory := l.MemoryMB != nil && delta.MemoryMB > 0
	needInstances := l.Instances != nil && delta.Instances > 0
	if !needMemory && !needInstances {
		return nil
	}
	used := usage()
	if needMemory && used.MemoryMB+delta.MemoryMB > *l.MemoryMB {
		return refuse("memory %squota_exceeded: the quota of %s is %dM, of which %dM are left; needed are %dM more",
			prefix, where, *l.MemoryMB, max(0, *l.MemoryMB-used.MemoryMB), delta.MemoryMB)
	}
	if needInstances && used.Instances+delta.Instances > *l.Instances {
		return refuse("instances %sinstance_limit_exceeded: the quota of %s is %d instances, of which %d are left; needed are %d more",
			prefix, where, *l.Instances, max(0, *l.Instances-used.Instances), delta.Instances)
	}
	return nil
}

// checkTaskQuota refuses one more running task of an app.
func checkTaskQuota(tx *Tx, app cf.App, memoryMB int) error {
	if err := checkAppQuota(tx, app.SpaceGUID, memoryMB, 0, memoryMB); err != nil {
		return err
	}
	s, err := getSpace(tx, app.SpaceGUID)
	if err != nil {
		return err
	}
	o, err := getOrganization(tx, s.OrgGUID)
	if err != nil {
		return err
	}
	most := orgLimits(tx, o).AppTasks
	if l, ok := spaceLimits(tx, s); ok && l.AppTasks != nil && (most == nil || *l.AppTasks < *most) {
		most = l.AppTasks
	}
	if most == nil {
		return nil
	}
	running := 0
	for t := range tasks.each(tx, "app", app.GUID) {
		if !t.Ended() {
			running++
		}
	}
	if running >= *most {
		return cf.ErrUnprocessable.With("The quota allows %d running tasks of an app; none is left of app '%s'.", *most, app.Name)
	}
	return nil
}

// checkRouteQuota refuses one more route in a space.
func checkRouteQuota(tx *Tx, spaceGUID string) error {
	s, err := getSpace(tx, spaceGUID)
	if err != nil {
		return err
	}
	o, err := getOrganization(tx, s.OrgGUID)
	if err != nil {
		return err
	}
	if l, ok := spaceLimits(tx, s); ok && l.Routes != nil && count(routes.each(tx, "space", s.GUID)) >= *l.Routes {
		return cf.ErrUnprocessable.With("Routes quota exceeded for space '%s': of %d routes none is left.", s.Name, *l.Routes)
	}
	l := orgLimits(tx, o)
	if l.Routes == nil {
		return nil
	}
	n := 0
	for _, s := range spaces.list(tx, "org", o.GUID) {
		n += count(routes.each(tx, "space", s.GUID))
	}
	if n >= *l.Routes {
		return cf.ErrUnprocessable.With("Routes quota exceeded for organization '%s': of %d routes none is left.", o.Name, *l.Routes)
	}
	return nil
}

// checkServiceQuota refuses one more service instance in a space.
func checkServiceQuota(tx *Tx, spaceGUID string) error {
	s, err := getSpace(tx, spaceGUID)
	if err != nil {
		return err
	}
	o, err := getOrganization(tx, s.OrgGUID)
	if err != nil {
		return err
	}
	if l, ok := spaceLimits(tx, s); ok && l.ServiceInstances != nil && count(serviceInstances.each(tx, "space", s.GUID)) >= *l.ServiceInstances {
		return cf.ErrUnprocessable.With("You have exceeded your space's services limit: of %d service instances none is left.", *l.ServiceInstances)
	}
	l := orgLimits(tx, o)
	if l.ServiceInstances == nil {
		return nil
	}
	n := 0
	for _, s := range spaces.list(tx, "org", o.GUID) {
		n += count(serviceInstances.each(tx, "space", s.GUID))
	}
	if n >= *l.ServiceInstances {
		return cf.ErrUnprocessable.With("You have exceeded your organization's services limit: of %d service instances none is left.", *l.ServiceInstances)
	}
	return nil
}
