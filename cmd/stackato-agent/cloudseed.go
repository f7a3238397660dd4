package main

import (
	"context"

	"github.com/google/uuid"

	"github.com/stackato/stackato/controller/cf"
	"github.com/stackato/stackato/controller/state"
)

// stackName is the one stack there is.
const stackName = "stackato"

// builtinBuildpacks are part of the stager, in the order of detection. binary
// detects nothing: it is for who names it.
var builtinBuildpacks = []string{"staticfile", "nodejs", "python", "go", "binary"}

// seed makes what a new cluster begins with: the shared domain, the default
// quota, the stack and the built-in buildpacks.
func (c *cloud) seed(ctx context.Context, term uint64) error {
	at := c.now()
	fresh := func() cf.Resource { return cf.Resource{GUID: uuid.NewString(), CreatedAt: at, UpdatedAt: at} }
	memory, routes := 10<<10, 1000
	s := state.Seed{
		Domain: cf.Domain{Resource: fresh(), Name: c.env.Domain},
		Quota: cf.Quota{Resource: fresh(), Name: cf.DefaultQuota, Limits: cf.Limits{
			MemoryMB: &memory, Routes: &routes, PaidServices: true,
		}},
		Stack: cf.Stack{Resource: fresh(), Name: stackName, Description: "Debian 12", Default: true},
	}
	for i, name := range builtinBuildpacks {
		s.Buildpacks = append(s.Buildpacks, cf.Buildpack{
			Resource: fresh(), Name: name, Stack: stackName, Position: i + 1, Enabled: true, BuiltIn: true,
			Filename: name + " (built in)",
		})
	}
	return c.asTerm(term).PlantSeed(ctx, s)
}
