package main

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/agent/cluster"
)

// TestWhatIsReplicated holds the list of what goes through Raft to every
// controller: facts about nodes and apps, in rows that are small. Blobs lie in
// the blob store, logs in the rings of the nodes, heartbeats in gossip and in
// Nomad; none of them has a table. Who adds one, or a field that takes bytes,
// comes by here and has to have thought about its size and how often it changes.
func TestWhatIsReplicated(t *testing.T) {
	reg := cluster.Registry()
	registerState(reg)
	rows := reg.Rows()
	if diff := cmp.Diff(strings.Fields(tables), slices.Sorted(maps.Keys(rows))); diff != "" {
		t.Errorf("tables (-known, +registered):\n%s", diff)
	}
	var found []string
	for name, row := range rows {
		found = append(found, bytesIn(name, reflect.TypeOf(row).Elem(), nil)...)
	}
	slices.Sort(found)
	if diff := cmp.Diff(strings.Fields(fields), found); diff != "" {
		t.Errorf("fields that take any bytes (-known, +found):\n%s", diff)
	}
}

const tables = `
admins authorities certificates cf_apps cf_audit_events cf_buildpacks cf_builds cf_deployments
cf_destinations cf_domains cf_droplets cf_env_groups cf_feature_flags cf_jobs cf_organizations
cf_package_files cf_packages cf_process_versions cf_processes cf_quotas cf_revisions cf_roles
cf_routes cf_seeds cf_service_bindings cf_service_instances cf_sidecars cf_spaces cf_stacks
cf_table_sizes cf_tasks cf_users cluster consensus_generation consensus_leader consensus_members
nodes secrets settings site_certificates tokens uaa_clients uaa_codes uaa_refresh_tokens uaa_revocations
uaa_signing_keys uaa_users
`

// fields hold keys, certificates, small JSON values and sealed secrets.
const fields = `
authorities.CertPEM
cf_apps.Env
cf_audit_events.Data
cf_deployments.Previous.Env
cf_process_versions.Env
cf_process_versions.Services.Credentials
cf_revisions.AppRun.Env
cf_service_instances.Credentials
cf_tasks.Env
cf_tasks.Services.Credentials
secrets.Sealed
settings.Value
site_certificates.CertPEM
uaa_signing_keys.Private
uaa_signing_keys.Public
`

// bytesIn lists the fields below a type that hold bytes of any length.
func bytesIn(path string, t reflect.Type, above []reflect.Type) []string {
	if slices.Contains(above, t) {
		return nil
	}
	above = append(slices.Clone(above), t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Array, reflect.Map:
		return bytesIn(path, t.Elem(), above)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return []string{path}
		}
		return bytesIn(path, t.Elem(), above)
	case reflect.Struct:
		var out []string
		for f := range fieldsOf(t) {
			out = append(out, bytesIn(path+"."+f.Name, f.Type, above)...)
		}
		return out
	}
	return nil
}

func fieldsOf(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && !yield(f) {
				return
			}
		}
	}
}
