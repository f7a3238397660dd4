package node

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCheckRoles(t *testing.T) {
	tests := []struct {
		roles RoleSet
		want  string // part of the refusal, "" if allowed
	}{
		{NewRoleSet(Base), ""},
		{NewRoleSet(Base, Controller, Router), ""},
		{NewRoleSet(Base, DEA), ""},
		{NewRoleSet(Base, LoadBalancer), ""},
		{NewRoleSet(DEA), "base role cannot be removed"},
		{NewRoleSet(Base, Controller), "always runs a router"},
		{NewRoleSet(Base, LoadBalancer, DEA), "load_balancer excludes every other role (the node would also have dea)"},
		{NewRoleSet(Base, LoadBalancer, Controller, Router), "load_balancer excludes"},
	}
	for _, tt := range tests {
		err := CheckRoles(tt.roles)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("CheckRoles(%s) = %v, want %q", tt.roles, err, tt.want)
		}
	}
}

func TestRoleSetJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := RoleSet(rapid.Uint32Range(0, uint32(AllRoles())).Draw(t, "set"))
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var got RoleSet
		if err := json.Unmarshal(b, &got); err != nil || got != s {
			t.Fatalf("round trip of %s: %s, %v", b, got, err)
		}
	})
	var s RoleSet
	if err := json.Unmarshal([]byte(`["dae"]`), &s); err == nil || !strings.Contains(err.Error(), `did you mean "dea"`) {
		t.Fatalf("unknown role: %v", err)
	}
}

func TestResolve(t *testing.T) {
	g, err := ParseGroups([]byte("edge: [router, harbor]\nstore:\n  - data-services\n  - memcached\n"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		names []string
		want  string
		err   string
	}{
		{[]string{"dea", "edge"}, "router,dea,harbor", ""},
		{[]string{"store"}, "mysql,postgresql,redis,mongodb,rabbit,memcached,filesystem", ""},
		{[]string{"data-service"}, "", `did you mean "data-services"?`},
		{[]string{"primary"}, "", "it is elected"},
		{[]string{"zzzzzzzzzz"}, "", "known are base"},
		{nil, "", "at least one"},
	}
	for _, tt := range tests {
		s, err := g.Resolve(tt.names...)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Resolve(%v): %v, want %q", tt.names, err, tt.err)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, s.String()); err != nil || diff != "" {
			t.Errorf("Resolve(%v): %v\n%s", tt.names, err, diff)
		}
	}
}

func TestParseGroupsNamesLineAndName(t *testing.T) {
	tests := []struct{ file, want string }{
		{"a: [dea]\nb: [roter]\n", `line 2: group "b": unknown role or group "roter": did you mean "router"?`},
		{"dea: [router]\n", `line 1: group "dea" has the name of a role`},
		{"core: [router]\n", `line 1: group "core" is built in`},
		{"a: [dea]\na: [router]\n", `defined already`},
		{"a: dea\n", `line 1: group "a" wants a list`},
		{"- a\n", "line 1: want a map"},
		{"a: [dea\n", "line 1"},
	}
	for _, tt := range tests {
		if _, err := ParseGroups([]byte(tt.file)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseGroups(%q) = %v, want %q", tt.file, err, tt.want)
		}
	}
	if g, err := ParseGroups(nil); err != nil || len(g) != len(BuiltinGroups()) {
		t.Errorf("empty file: %v, %v", g, err)
	}
}

func FuzzParseGroups(f *testing.F) {
	f.Add([]byte("a: [dea]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := ParseGroups(b)
		if err == nil && len(g) < len(BuiltinGroups()) {
			t.Fatal("built-in groups lost")
		}
	})
}

func TestCheckNameAndAddress(t *testing.T) {
	for name, ok := range map[string]bool{"n1": true, "a-b": true, "": false, "-a": false, "A": false, strings.Repeat("a", 64): false} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
	for addr, want := range map[string]string{
		"10.0.0.1": "", "::ffff:10.0.0.1": "", "fd00::1": "not supported yet", "0.0.0.0": "cannot be reached", "x": "not an IP",
	} {
		_, err := CheckAddress(addr)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("CheckAddress(%q) = %v, want %q", addr, err, want)
		}
	}
}
