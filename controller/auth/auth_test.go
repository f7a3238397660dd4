package auth

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAccess(t *testing.T) {
	all := []string{ScopeRead, ScopeWrite}
	developer := NewAccess(all, []Grant{
		{Role: "organization_user", OrgGUID: "o"}, {Role: "space_developer", SpaceGUID: "s"}, {Role: "no such role", SpaceGUID: "s2"},
	})
	admin := NewAccess([]string{ScopeAdmin}, nil)
	for _, tt := range []struct {
		name       string
		access     *Access
		action     Action
		org, space string
		want       bool
	}{
		{"developer in the space", developer, AppWrite, "o", "s", true},
		{"developer in another space", developer, AppWrite, "o", "s2", false},
		{"developer in the organization", developer, OrgRead, "o", "", true},
		{"developer in another organization", developer, OrgRead, "o2", "", false},
		{"developer without a place", developer, GlobalRead, "", "", false},
		{"developer is signed in", developer, SignedIn, "o", "", true},
		{"an action that is not in the table", admin, "nothing", "o", "s", false},
		{"administrator anywhere", admin, AppWrite, "o", "s", true},
		{"auditor writes", NewAccess([]string{ScopeGlobalAuditor}, nil), AppWrite, "o", "s", false},
		{"auditor reads", NewAccess([]string{ScopeGlobalAuditor}, nil), AppRead, "o", "s", true},
		{"auditor and secrets", NewAccess([]string{ScopeGlobalAuditor}, nil), AppSecrets, "o", "s", false},
	} {
		if got := tt.access.Can(tt.action, tt.org, tt.space); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if developer.Admin() || !admin.Admin() || !admin.Everywhere(GlobalWrite) || developer.Everywhere(OrgRead) {
		t.Error("who is an administrator is wrong")
	}
	if a := NewAccess([]string{ScopeRead}, nil); a.HasScope(true) || !a.HasScope(false) {
		t.Error("a token that may only read must not write")
	}
}

func TestRoleNames(t *testing.T) {
	for i, name := range names {
		if got := Parse(name); got != 1<<i || got.String() != name {
			t.Errorf("%s: parsed as %v, which prints %q", name, uint16(got), got)
		}
	}
	if Parse("organization_managers") != 0 {
		t.Error("an unknown role was parsed")
	}
	got := []bool{OrgManager.IsOrg(), SpaceManager.IsOrg(), SpaceAuditor.IsSpace(), Admin.IsOrg(), Roles(0).IsSpace()}
	if diff := cmp.Diff([]bool{true, false, true, false, false}, got); diff != "" {
		t.Error(diff)
	}
}

// Everybody who may change something may see it: else 404 and 403 would tell
// what they should hide.
func TestWhoWritesAlsoReads(t *testing.T) {
	reads := map[Action]Action{
		GlobalWrite: GlobalRead, OrgUpdate: OrgRead, OrgRoleWrite: OrgRead, SpaceCreate: SpaceRead, SpaceUpdate: SpaceRead,
		DomainWrite: DomainRead, RouteCreate: RouteRead, RouteMap: RouteRead, SpaceRoleWrite: SpaceRead, SpaceQuotaWrite: SpaceQuotaRead,
		AppSecrets: AppRead, AppWrite: AppRead, AppManage: AppRead, ServiceSecrets: ServiceRead, ServiceWrite: ServiceRead, ServiceBind: ServiceRead,
	}
	for action, roles := range Table {
		read, changes := reads[action]
		if !changes {
			if action.Changes() {
				t.Errorf("%s: say here what reads it", action)
			}
			continue
		}
		if extra := roles &^ Table[read]; extra != 0 {
			t.Errorf("%s: %s may, but not %s", action, extra, read)
		}
	}
}
