package state

import (
	"context"

	"github.com/stackato/stackato/controller/cf"
)

var processVersions = newTable[cf.ProcessVersion]("cf_process_versions", unique("id", "ProcessGUID", "Version"),
	by("app", "AppGUID"), by("process", "ProcessGUID"))

// ProcessVersion returns one version of a process.
func (v *View) ProcessVersion(processGUID, version string) (cf.ProcessVersion, bool) {
	return processVersions.get(v, "id", processGUID, version)
}

// ProcessVersions returns all versions of all processes, wanted or not.
func (v *View) ProcessVersions() []cf.ProcessVersion { return processVersions.list(v, "id") }

// ProcessVersionsOf returns the versions of a process.
func (v *View) ProcessVersionsOf(processGUID string) []cf.ProcessVersion {
	return processVersions.list(v, "process", processGUID)
}

// VersionKey names a process version.
type VersionKey struct {
	ProcessGUID string `json:"process_guid"`
	Version     string `json:"version"`
}

var deleteProcessVersions = newCommand("cf.process_version.delete", 1, func(tx *Tx, in []VersionKey) (none, error) {
	for _, k := range in {
		if !versionWanted(tx, k) {
			processVersions.remove(tx, "id", k.ProcessGUID, k.Version)
		}
	}
	return none{}, nil
})

// versionWanted reports whether the version runs or is rolled out.
func versionWanted(tx *Tx, k VersionKey) bool {
	p, ok := processes.get(tx, "id", k.ProcessGUID)
	if !ok {
		return false
	}
	a, ok := apps.get(tx, "id", p.AppGUID)
	if !ok || a.State != cf.AppStarted {
		return false
	}
	d, active := activeDeployment(tx, p.AppGUID)
	return p.Version == k.Version || active && d.ProcessGUID == k.ProcessGUID && d.NewVersion == k.Version
}

// DeleteProcessVersions removes versions that no job needs any more. Those
// that a started app or an active deployment still names are left.
func (s *Store) DeleteProcessVersions(ctx context.Context, keys ...VersionKey) error {
	_, err := deleteProcessVersions.do(ctx, s, keys)
	return err
}
