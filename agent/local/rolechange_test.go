package local

import (
	"errors"
	"strings"
	"testing"

	"github.com/stackato/stackato/agent/node"
)

func TestRoleChangeApply(t *testing.T) {
	groups, err := node.ParseGroups([]byte("edge: [router, harbor]\n"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		current string
		change  RoleChange
		want    string // the set, or part of the refusal
		code    string // of the refusal
	}{
		{"add", "base", RoleChange{Op: RoleAdd, Names: []string{"dea", "edge"}}, "base,router,dea,harbor", ""},
		{"controller brings router", "base", RoleChange{Op: RoleAdd, Names: []string{"controller"}}, "base,controller,router", ""},
		{"add what is there", "base,dea", RoleChange{Op: RoleAdd, Names: []string{"dea"}}, "base,dea", ""},
		{"all never has load_balancer", "base", RoleChange{Op: RoleAdd, All: true}, "base,controller,router,dea,mysql,postgresql,redis,mongodb,rabbit,memcached,filesystem,harbor,mdns", ""},
		{"all but", "base", RoleChange{Op: RoleAdd, AllBut: []string{"data-services", "core"}}, "base,dea,memcached,harbor,mdns", ""},
		{"all but router", "base", RoleChange{Op: RoleAdd, AllBut: []string{"router"}}, "always runs a router", CodeRefused},
		{"all beside a load balancer", "base,load_balancer", RoleChange{Op: RoleAdd, All: true}, "excludes every other role", CodeRefused},
		{"set", "base,dea,mysql", RoleChange{Op: RoleSet, Names: []string{"redis"}}, "base,redis", ""},
		{"set load balancer", "base,dea", RoleChange{Op: RoleSet, Names: []string{"load_balancer"}}, "base,load_balancer", ""},
		{"remove", "base,dea,mysql", RoleChange{Op: RoleRemove, Names: []string{"dea"}}, "base,mysql", ""},
		{"remove what is not there", "base", RoleChange{Op: RoleRemove, Names: []string{"dea"}}, "base", ""},
		{"remove base", "base,dea", RoleChange{Op: RoleRemove, Names: []string{"base"}}, "base role cannot be removed", CodeRefused},
		{"remove a controller's router", "base,controller,router", RoleChange{Op: RoleRemove, Names: []string{"router"}}, "always runs a router", CodeRefused},
		{"remove all", "base,controller,router,dea", RoleChange{Op: RoleRemove, All: true}, "base", ""},
		{"remove all but controller keeps its router", "base,controller,router,dea", RoleChange{Op: RoleRemove, AllBut: []string{"controller"}}, "base,controller,router", ""},
		{"unknown", "base", RoleChange{Op: RoleAdd, Names: []string{"dea", "roter"}}, `did you mean "router"`, CodeNotFound},
		{"unknown exception", "base", RoleChange{Op: RoleAdd, AllBut: []string{"roter"}}, `did you mean "router"`, CodeNotFound},
		{"no names", "base", RoleChange{Op: RoleAdd}, "either role names", CodeInvalid},
		{"two forms", "base", RoleChange{Op: RoleAdd, All: true, Names: []string{"dea"}}, "either role names", CodeInvalid},
		{"set all", "base", RoleChange{Op: RoleSet, All: true}, "either role names", CodeInvalid},
		{"no such operation", "base", RoleChange{Op: "swap", Names: []string{"dea"}}, "unknown role operation", CodeInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			current, err := groups.Resolve(strings.Split(tt.current, ",")...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tt.change.Apply(current, groups)
			if tt.code == "" {
				if err != nil || got.String() != tt.want {
					t.Fatalf("got %s, %v, want %s", got, err, tt.want)
				}
				return
			}
			if got != current {
				t.Errorf("a refusal changed the set to %s", got)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || wireError(err).Code() != tt.code {
				t.Fatalf("got %v, want %s: %q", err, tt.code, tt.want)
			}
		})
	}
}

func TestWireErrorKeepsCodeHintAndContext(t *testing.T) {
	inner := Errorf(CodeNotFound, "look there", "no node %q", "n9")
	tests := []struct {
		err        error
		code, hint string
	}{
		{errors.Join(errors.New("removing"), inner), CodeNotFound, "look there"},
		{&node.RuleError{Reason: "r", Hint: "h"}, CodeRefused, "h"},
		{foreignError("precondition"), CodeRefused, ""},
		{foreignError("denied"), CodeForbidden, ""},
		{foreignError("from-the-future"), CodeInternal, ""},
		{errors.New("boom"), CodeInternal, ""},
	}
	for _, tt := range tests {
		e := wireError(tt.err)
		if e.Code() != tt.code || e.Hint() != tt.hint || e.status() == 0 {
			t.Errorf("%v: %+v with status %d, want %s, %q", tt.err, e, e.status(), tt.code, tt.hint)
		}
	}
	if e := wireError(errors.Join(errors.New("removing"), inner)); !strings.Contains(e.Message, "removing") {
		t.Errorf("context lost: %q", e.Message)
	}
}

// foreignError has a code without knowing this package, like wire/rpcerr.
type foreignError string

func (e foreignError) Error() string { return "foreign" }
func (e foreignError) Code() string  { return string(e) }
