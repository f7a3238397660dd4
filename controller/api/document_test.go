package api

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stackato/stackato/controller/auth"
)

var update = flag.Bool("update", false, "write docs/api.md anew")

const documentPath = "../../docs/api.md"

// TestDocument holds docs/api.md to the route list.
func TestDocument(t *testing.T) {
	want := document(newCloud(t).api.routes())
	if *update {
		if err := os.WriteFile(documentPath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(documentPath)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want); diff != "" {
		t.Errorf("docs/api.md is not up to date: go test ./controller/api -run TestDocument -update\n%s", diff)
	}
}

const documentHead = `# The API

The calls of Cloud Foundry's v3 API that this platform has, generated from the code (` + "`go test ./controller/api -run TestDocument -update`" + `).
Fields, status codes, filters and pages are those of Cloud Foundry's own documentation; where something is not there yet, the
answer says so. Calls need a token of the log-in service unless they are for everybody. Whoever may not see a resource is told
that it is not found (404); whoever sees it and may not change it is told that they are not authorized (403).

Administrators may do everything. The other roles that may are in the last column: ` + "`admin_read_only` and `global_auditor`" + ` come
from the token, the others are given in an organization or a space with ` + "`cf set-org-role` and `cf set-space-role`" + `.
`

// document is docs/api.md.
func document(routes []route) string {
	var b strings.Builder
	b.WriteString(documentHead)
	section := ""
	for _, rt := range routes {
		if s := sectionOf(rt.pattern); s != section {
			section = s
			fmt.Fprintf(&b, "\n## %s\n\n| call | what it does | who may |\n|---|---|---|\n", s)
		}
		method := rt.method
		if method == "" {
			method = "*any*"
		}
		fmt.Fprintf(&b, "| %s `%s` | %s | %s |\n", method, strings.TrimSuffix(rt.pattern, "{$}"), rt.doc, who(rt.action))
	}
	return b.String()
}

// sectionOf is the first part of the path after /v3.
func sectionOf(pattern string) string {
	parts := strings.Split(strings.TrimPrefix(pattern, "/"), "/")
	if parts[0] == "v3" && len(parts) > 1 && parts[1] != "info" {
		return strings.ReplaceAll(parts[1], "_", " ")
	}
	if parts[0] == "routing" || parts[0] == "networking" {
		return parts[0]
	}
	return "root"
}

func who(action auth.Action) string {
	switch action {
	case "":
		return "everybody"
	case auth.SignedIn:
		return "everybody with a token"
	}
	names := (auth.Table[action] &^ auth.Admin).Names()
	if len(names) == 0 {
		return "administrators only"
	}
	return strings.Join(names, ", ")
}

// Every route names an action of the table and says what it does; every action
// of the table is used.
func TestRouteList(t *testing.T) {
	used := map[auth.Action]bool{}
	seen := map[string]bool{}
	for _, rt := range newCloud(t).api.routes() {
		name := rt.method + " " + rt.pattern
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name], used[rt.action] = true, true
		if _, known := auth.Table[rt.action]; !known && rt.action != "" {
			t.Errorf("%s: action %q is not in the table", name, rt.action)
		}
		if !strings.HasSuffix(rt.doc, ".") || strings.ContainsAny(rt.doc, "|\n") {
			t.Errorf("%s: its text %q is no sentence", name, rt.doc)
		}
		if rt.method != "" && !slices.Contains([]string{"GET", "POST", "PATCH", "PUT", "DELETE"}, rt.method) {
			t.Errorf("%s: unknown method", name)
		}
	}
	for action := range auth.Table {
		if !used[action] && action != auth.GlobalRead && action != auth.OrgRoleWrite { // these decide within lists and roles
			t.Errorf("action %s is in the table, but no route has it", action)
		}
	}
}
